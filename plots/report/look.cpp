#include "plots/report/look.hpp"

#include <boost/archive/iterators/base64_from_binary.hpp>
#include <boost/archive/iterators/transform_width.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace evictlab::plots {
namespace {

using Json = nlohmann::ordered_json;

std::string base64(const std::vector<std::uint8_t>& bytes) {
  using namespace boost::archive::iterators;
  using Encoded = base64_from_binary<transform_width<std::vector<std::uint8_t>::const_iterator, 6, 8>>;
  std::string text(Encoded(bytes.begin()), Encoded(bytes.end()));
  text.append((3 - bytes.size() % 3) % 3, '=');
  return text;
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

Json prompt_json(const LookPrompt& prompt) {
  Json spans = Json::array();
  for (const LookPrompt::Span& span : prompt.spans) spans.push_back({span.name, span.begin, span.end});
  Json kept = Json::array();
  for (const std::vector<LookKept>& policies : prompt.kept) {
    Json row = Json::array();
    for (const LookKept& one : policies) row.push_back({{"sets", one.sets}, {"bits", base64(one.bits)}});
    kept.push_back(std::move(row));
  }
  return {{"id", prompt.id},
          {"task", prompt.task},
          {"positions", prompt.positions},
          {"cell", prompt.cell},
          {"texts", prompt.texts},
          {"layers", prompt.layers},
          {"heads", prompt.heads},
          {"spans", spans},
          {"window", base64(prompt.window)},
          {"future", base64(prompt.future)},
          {"kept", kept}};
}

}  // namespace

std::size_t cell_size(std::size_t positions, std::size_t most) {
  return positions <= most ? 1 : (positions + most - 1) / most;
}

std::vector<float> pooled(std::span<const float> values, std::size_t cell) {
  std::vector<float> cells((values.size() + cell - 1) / cell, 0.0F);
  for (std::size_t i = 0; i < values.size(); ++i) cells[i / cell] = std::max(cells[i / cell], values[i]);
  return cells;
}

std::uint8_t quantised(float share) {
  constexpr float kDecades = 4;
  if (!(share > 0)) return 0;
  return static_cast<std::uint8_t>(std::lround(255 * std::clamp(1 + std::log10(share) / kDecades, 0.0F, 1.0F)));
}

std::vector<std::uint8_t> cell_bits(std::span<const std::int32_t> positions, std::size_t cell, std::size_t cells) {
  std::vector<std::uint8_t> bits((cells + 7) / 8, 0);
  for (const std::int32_t position : positions) {
    const std::size_t at = static_cast<std::size_t>(position) / cell;
    if (at < cells) bits[at / 8] = static_cast<std::uint8_t>(bits[at / 8] | 1U << (at % 8));
  }
  return bits;
}

std::string look_json(const Look& look) {
  Json json = {{"policies", look.policies}, {"budgets", look.budgets}, {"prompts", Json::array()}};
  for (const LookPrompt& prompt : look.prompts) json["prompts"].push_back(prompt_json(prompt));
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  // In strings alone can these occur, where the escapes mean the same.
  replace_all(text, "<", "\\u003c");
  replace_all(text, "\xE2\x80\xA8", "\\u2028");
  replace_all(text, "\xE2\x80\xA9", "\\u2029");
  return text;
}

}  // namespace evictlab::plots
