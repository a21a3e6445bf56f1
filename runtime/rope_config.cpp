#include "runtime/rope_config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace evictlab::runtime {
namespace {

using RopeType = RopeConfig::Type;

constexpr std::array kTypes = {
    std::pair<std::string_view, RopeType>{"default", RopeType::kDefault},
    std::pair<std::string_view, RopeType>{"linear", RopeType::kLinear},
    std::pair<std::string_view, RopeType>{"dynamic", RopeType::kDynamic},
    std::pair<std::string_view, RopeType>{"llama3", RopeType::kLlama3},
    std::pair<std::string_view, RopeType>{"yarn", RopeType::kYarn},
};

std::string_view type_name(RopeType type) {
  return std::ranges::find(kTypes, type, &std::pair<std::string_view, RopeType>::second)->first;
}

RopeType read_type(const core::JsonNode& keys) {
  // Checkpoints from before transformers 4.45 say "type".
  const std::string name = keys.find_string("rope_type").value_or(keys.find_string("type").value_or("default"));
  const auto found = std::ranges::find(kTypes, name, &std::pair<std::string_view, RopeType>::first);
  if (found != kTypes.end()) return found->second;
  std::string known;
  for (const auto& [type, value] : kTypes) known += fmt::format("{}{}", known.empty() ? "" : ", ", type);
  keys.fail("rope type '{}' is not supported; known: {}", name, known);
}

void read_llama3(const core::JsonNode& keys, RopeConfig& rope) {
  rope.factor = keys.at("factor").positive();
  rope.low_freq_factor = keys.at("low_freq_factor").positive();
  rope.high_freq_factor = keys.at("high_freq_factor").positive();
  rope.original_positions = keys.at("original_max_position_embeddings").integer(1, trace::kMaxPositions);
  if (rope.low_freq_factor >= rope.high_freq_factor) {
    keys.fail("low_freq_factor is {}, expected less than high_freq_factor {}", rope.low_freq_factor,
              rope.high_freq_factor);
  }
}

/// Peng et al. 2023 (arXiv:2309.00071), section 3.4: scores are sharpened as the factor grows. Transformers
/// multiplies queries and keys each by 0.1 mscale ln(factor) + 1.
double yarn_sharpening(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void read_yarn(const core::JsonNode& keys, Index max_positions, RopeConfig& rope) {
  rope.original_positions =
      keys.find_integer("original_max_position_embeddings", 1, trace::kMaxPositions).value_or(max_positions);
  rope.factor = keys.find_positive("factor").value_or(static_cast<double>(max_positions) /
                                                      static_cast<double>(rope.original_positions));
  rope.beta_fast = keys.find_positive("beta_fast").value_or(rope.beta_fast);
  rope.beta_slow = keys.find_positive("beta_slow").value_or(rope.beta_slow);
  if (rope.beta_slow > rope.beta_fast) {
    keys.fail("beta_slow is {}, expected at most beta_fast {}", rope.beta_slow, rope.beta_fast);
  }
  rope.truncate = keys.flag("truncate", true);
  const auto mscale = keys.find_positive("mscale");
  const auto mscale_all = keys.find_positive("mscale_all_dim");
  const double sharpening = mscale && mscale_all
                                ? yarn_sharpening(rope.factor, *mscale) / yarn_sharpening(rope.factor, *mscale_all)
                                : yarn_sharpening(rope.factor, 1.0);
  rope.attention_factor = keys.find_positive("attention_factor").value_or(sharpening);
}

void refuse_partial_rotation(const core::JsonNode& keys) {
  const double share = keys.find_positive("partial_rotary_factor").value_or(1.0);
  if (share != 1.0) {
    keys.fail("partial_rotary_factor {} is not supported; expected 1", share);
  }
}

void read_parameters(const core::JsonNode& keys, Index max_positions, RopeConfig& rope) {
  rope.theta = keys.find_positive("rope_theta").value_or(rope.theta);
  refuse_partial_rotation(keys);
  rope.type = read_type(keys);
  switch (rope.type) {
    case RopeType::kDefault:
      break;
    case RopeType::kLinear:
      rope.factor = keys.at("factor").positive();
      break;
    case RopeType::kDynamic:
      rope.factor = keys.at("factor").positive();
      rope.original_positions = max_positions;
      break;
    case RopeType::kLlama3:
      read_llama3(keys, rope);
      break;
    case RopeType::kYarn:
      read_yarn(keys, max_positions, rope);
      break;
  }
}

}  // namespace

std::string describe(const RopeConfig& rope) {
  std::string text = fmt::format("rope(theta={}", rope.theta);
  if (rope.type != RopeType::kDefault) text += fmt::format(",type={},factor={}", type_name(rope.type), rope.factor);
  if (rope.type == RopeType::kLlama3) {
    text += fmt::format(",low_freq_factor={},high_freq_factor={}", rope.low_freq_factor, rope.high_freq_factor);
  }
  if (rope.original_positions > 0) text += fmt::format(",original_positions={}", rope.original_positions);
  if (rope.type == RopeType::kYarn) {
    text += fmt::format(",beta_fast={},beta_slow={},attention_factor={}", rope.beta_fast, rope.beta_slow,
                        rope.attention_factor);
  }
  if (!rope.frequency_divisors.empty()) {
    text += fmt::format(",divisors={}..{}", std::ranges::min(rope.frequency_divisors),
                        std::ranges::max(rope.frequency_divisors));
  }
  return text + ")";
}

RopeConfig read_rope_config(const core::JsonNode& keys, Index max_positions) {
  RopeConfig rope;
  rope.theta = keys.find_positive("rope_theta").value_or(rope.theta);
  refuse_partial_rotation(keys);
  if (const auto scaling = keys.find("rope_scaling")) read_parameters(*scaling, max_positions, rope);
  if (const auto parameters = keys.find("rope_parameters")) read_parameters(*parameters, max_positions, rope);
  return rope;
}

Index stretched_positions(const RopeConfig& rope, Index max_positions) {
  const bool of_original = rope.type == RopeType::kYarn;
  if (!of_original && rope.type != RopeType::kLinear && rope.type != RopeType::kDynamic) return max_positions;
  const auto base = static_cast<double>(of_original ? rope.original_positions : max_positions);
  const double stretched = std::min(base * rope.factor, static_cast<double>(trace::kMaxPositions));
  return std::max(max_positions, static_cast<Index>(stretched));
}

}  // namespace evictlab::runtime
