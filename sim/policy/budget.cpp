#include "sim/policy/budget.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/text.hpp"
#include "sim/policy/policy_text.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kMostSteps = 4096;
constexpr std::string_view kForms =
    "slots (128), a ratio of the prompt (0.05 or 5%), bytes (64MiB or 64MB) or a range (16:4096:log32)";

Index slot_count(std::string_view item, std::string_view text) {
  const auto count = core::parse_integer(text);
  if (!count) throw PolicyError("budget '{}': expected {}", item, kForms);
  if (*count < 1 || *count > trace::kMaxPositions) {
    throw PolicyError("budget '{}': slots must be in 1..{}, got {}", item, trace::kMaxPositions, *count);
  }
  return *count;
}

// 16:4096:log32
std::vector<Budget> parse_range(std::string_view item) {
  const std::vector<std::string> parts = core::split(item, ':');
  if (parts.size() != 3)
    throw PolicyError("budget '{}': a range is first:last:log<count> or first:last:lin<count>", item);
  const Index first = slot_count(item, parts[0]);
  const Index last = slot_count(item, parts[1]);
  const std::string kind = parts[2].substr(0, 3);
  const auto steps = core::parse_integer(std::string_view(parts[2]).substr(std::min<std::size_t>(3, parts[2].size())));
  if ((kind != "log" && kind != "lin") || !steps) {
    throw PolicyError("budget '{}': a range ends with log<count> or lin<count>, got '{}'", item, parts[2]);
  }
  if (first >= last) throw PolicyError("budget '{}': the range must rise, got {} to {}", item, first, last);
  if (*steps < 2 || *steps > kMostSteps) {
    throw PolicyError("budget '{}': a range has 2..{} steps, got {}", item, kMostSteps, *steps);
  }
  std::vector<Budget> budgets;
  for (Index step = 0; step < *steps; ++step) {
    const double share = static_cast<double>(step) / static_cast<double>(*steps - 1);
    const auto low = static_cast<double>(first);
    const auto high = static_cast<double>(last);
    const double value = kind == "log" ? low * std::pow(high / low, share) : low + share * (high - low);
    budgets.push_back(Budget::slots(std::llround(value)));
  }
  return budgets;
}

std::optional<double> unit_bytes(std::string_view unit) {
  if (unit == "B") return 1.0;
  if (unit == "kB" || unit == "KB") return 1e3;
  if (unit == "MB") return 1e6;
  if (unit == "GB") return 1e9;
  if (unit == "TB") return 1e12;
  if (unit == "KiB") return 0x1p10;
  if (unit == "MiB") return 0x1p20;
  if (unit == "GiB") return 0x1p30;
  if (unit == "TiB") return 0x1p40;
  return {};
}

Budget ratio_of(double ratio, std::string_view item) {
  if (ratio <= 0.0 || ratio > 1.0) {
    throw PolicyError("budget '{}': a ratio of the prompt must be more than 0 and at most 1", item);
  }
  return Budget::ratio(ratio);
}

Budget parse_one(const std::string& item) {
  const std::size_t letter = item.find_first_not_of("+-0123456789.");
  if (letter != std::string::npos) {
    const auto number = core::parse_number(core::trim(std::string_view(item).substr(0, letter)));
    const std::string_view unit_text = core::trim(std::string_view(item).substr(letter));
    if (number && unit_text == "%") return ratio_of(*number / 100.0, item);
    const auto unit = unit_bytes(unit_text);
    if (!number || !unit) throw PolicyError("budget '{}': expected {}", item, kForms);
    if (*number <= 0.0) throw PolicyError("budget '{}': bytes must be more than 0", item);
    return Budget::bytes(*number * *unit, item);
  }
  if (item.find('.') == std::string::npos) return Budget::slots(slot_count(item, item));
  const auto ratio = core::parse_number(item);
  if (!ratio) throw PolicyError("budget '{}': expected {}", item, kForms);
  return ratio_of(*ratio, item);
}

// "1.0" for the whole prompt: "1" would be one slot.
std::string ratio_text(double ratio) { return ratio == 1.0 ? "1.0" : fmt::format("{}", ratio); }

}  // namespace

Budget Budget::slots(Index count) { return {Unit::kSlots, static_cast<double>(count), fmt::format("{}", count)}; }
Budget Budget::ratio(double of_prompt) { return {Unit::kRatio, of_prompt, ratio_text(of_prompt)}; }
Budget Budget::bytes(double count, std::string text) { return {Unit::kBytes, count, std::move(text)}; }

double Budget::real_slots(const trace::ModelInfo& model, Index prompt_length) const {
  // 0.29 * 100 is 28.999...: a whole number of slots must not be lost to the binary fraction.
  constexpr double kRounding = 1e-9;
  double slots = value_;
  if (unit_ == Unit::kRatio) slots = value_ * static_cast<double>(prompt_length) + kRounding;
  if (unit_ == Unit::kBytes) slots = value_ / static_cast<double>(model.layers * model.kv_heads * model.slot_bytes());
  return std::min(slots, static_cast<double>(trace::kMaxPositions));
}

Index Budget::to_slots(const trace::ModelInfo& model, Index prompt_length) const {
  return static_cast<Index>(real_slots(model, prompt_length));
}

std::string Budget::conversion(const trace::ModelInfo& model, Index prompt_length) const {
  const Index slots = to_slots(model, prompt_length);
  if (unit_ == Unit::kRatio) return fmt::format("{} of {} positions = {} slots", text_, prompt_length, slots);
  if (unit_ == Unit::kBytes) {
    return fmt::format("{} over {} layers x {} kv heads x {} B = {} slots", text_, model.layers, model.kv_heads,
                       model.slot_bytes(), slots);
  }
  return {};
}

std::vector<Budget> parse_budgets(std::string_view list) {
  std::vector<Budget> budgets;
  const auto add = [&](const Budget& budget) {
    const bool known =
        std::any_of(budgets.begin(), budgets.end(), [&](const Budget& other) { return other.text() == budget.text(); });
    if (!known) budgets.push_back(budget);
  };
  for (const std::string& item : split_list(list, "budgets")) {
    if (item.find(':') == std::string::npos) {
      add(parse_one(item));
    } else {
      for (const Budget& budget : parse_range(item)) add(budget);
    }
  }
  return budgets;
}

}  // namespace evictlab::sim
