#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "results/role.hpp"

// How things look, once for all figures. Colours are Okabe & Ito's colour-blind-safe set (2008) with two of
// Paul Tol's muted ones; a policy is told apart by colour and mark together, so that figures survive grey printing.

namespace evictlab::plots {

struct Style {
  std::string color;   // "#0072B2"
  int point_type = 0;  // gnuplot's; 0 = no mark
  std::string dash;    // gnuplot's: "solid", "-", "."
  double width = 2.0;
  double mark_size = 1.3;

  /// For a plot command: "lc rgb '#0072B2' pt 7 dt solid lw 2 ps 1.2".
  std::string gnuplot() const;
  /// Of the line alone, and of the mark alone.
  std::string line() const;
  std::string mark() const;
  /// The same for a line of so many points: where they are many, marks small enough to leave the line to be seen.
  Style over(double points) const;
};

/// The style of a policy, the same in every figure. One that style.cpp does not list gets a style from its role and
/// name alone: ceilings are black, controls grey, methods coloured by a hash of the name. `variation` distinguishes
/// parameter sets of one policy by mark and dash; compositions and imported policies also by colour, since they have
/// little but the name in common.
Style policy_style(std::string_view policy, results::Role role = results::Role::kMethod, std::size_t variation = 0);

/// Where a policy stands in legends among those of its role: families together; unlisted ones last.
std::size_t policy_rank(std::string_view policy);

/// The style of a task: colours and marks in turn.
Style task_style(std::size_t number);

/// "set palette ..." from dark blue to yellow, even steps of lightness (as viridis): for amounts from 0 up.
std::string sequential_palette();
/// "set palette ..." from blue over near-white to orange: for ratios around 1.
std::string diverging_palette();

inline constexpr const char* kTextColor = "#222222";
inline constexpr const char* kQuietColor = "#666666";  // captions, axes
inline constexpr const char* kGridColor = "#E4E4E4";

}  // namespace evictlab::plots
