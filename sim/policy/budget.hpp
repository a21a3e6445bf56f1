#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/policy/types.hpp"
#include "trace/model.hpp"

namespace evictlab::sim {

using trace::Index;

/// Limits how much a policy may hold. The unit is stored slots: key-value pairs per layer, divided by the kv
/// heads, averaged over layers; protected positions count. So equal budgets are equal bytes.
class Budget {
 public:
  enum class Unit { kSlots, kRatio, kBytes };

  static Budget slots(Index count);
  static Budget ratio(double of_prompt);
  static Budget bytes(double count, std::string text);

  Unit unit() const { return unit_; }
  /// As it was asked for: "128", "0.05", "64MiB". What result tables carry.
  const std::string& text() const { return text_; }

  /// In slots, rounded down; may be 0 (a small share of a short prompt).
  ///   ratio r: r * n           bytes b: b / (L * G * bytes of a slot)
  Index to_slots(const trace::ModelInfo& model, Index prompt_length) const;
  /// The same not rounded: some methods reckon with the fraction.
  double real_slots(const trace::ModelInfo& model, Index prompt_length) const;
  /// "0.05 of 508 positions = 25 slots", "64 MiB over 8 layers x 2 kv heads x 256 B = 16384 slots"; empty for slots.
  std::string conversion(const trace::ModelInfo& model, Index prompt_length) const;

 private:
  Budget(Unit unit, double value, std::string text) : unit_(unit), value_(value), text_(std::move(text)) {}
  Unit unit_;
  double value_;
  std::string text_;
};

/// budgets := item {"," item}
/// item := 128 (slots) | 0.05 (ratio of the prompt, in (0, 1]) | 5% (the ratio 0.05)
///       | 64MiB (B, KiB, MiB, GiB, TiB) | 64MB (64 * 10^6 bytes; kB, MB, GB, TB)
///       | 16:4096:log32 (32 from 16 to 4096, equal steps of the logarithm, rounded) | 16:4096:lin32
/// In the order given, each once. Throws PolicyError in one line for anything else.
std::vector<Budget> parse_budgets(std::string_view list);

}  // namespace evictlab::sim
