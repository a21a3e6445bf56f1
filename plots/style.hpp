#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// How things look, once for all figures. Colours are Okabe & Ito's colour-blind-safe set (2008) with two of
// Paul Tol's muted ones; a policy is told apart by colour and mark together, so that figures survive grey printing.

namespace evictlab::plots {

struct Style {
  std::string color;   // "#0072B2"
  int point_type = 0;  // gnuplot's; 0 = no mark
  std::string dash;    // gnuplot's: "solid", "-", "."
  double width = 2.0;

  /// For a plot command: "lc rgb '#0072B2' pt 7 dt solid lw 2 ps 1.2".
  std::string gnuplot() const;
  /// Of the line alone, and of the mark alone.
  std::string line() const;
  std::string mark() const;
};

/// The policy's own style in every figure; unknown ones get one that depends on their name alone.
/// `variation` tells apart several parameter sets of one policy: same colour, other dash and mark.
Style policy_style(std::string_view policy, std::size_t variation = 0);

/// Where a policy stands in legends: the ends of the scale first, then families together; unknown ones last.
std::size_t policy_rank(std::string_view policy);

/// "set palette ..." from dark blue to yellow, even steps of lightness (as viridis): for amounts from 0 up.
std::string sequential_palette();
/// "set palette ..." from blue over near-white to orange: for ratios around 1.
std::string diverging_palette();

inline constexpr const char* kTextColor = "#222222";
inline constexpr const char* kQuietColor = "#666666";  // captions, axes
inline constexpr const char* kGridColor = "#E4E4E4";

}  // namespace evictlab::plots
