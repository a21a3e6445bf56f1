#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/tokenizer/tokenizer.hpp"

namespace evictlab::runtime {

/// A tokenizer.json with four characters and two merges, to be changed by a test:
/// a=0 b=1 c=2 ?=3 ab=4 abc=5.
inline nlohmann::json small_document() {
  return nlohmann::json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
      "vocab": {"a": 0, "b": 1, "c": 2, "?": 3, "ab": 4, "abc": 5}, "merges": [["a", "b"], ["ab", "c"]]}})");
}

inline nlohmann::json added_token(int id, const std::string& content, bool special = false) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

inline Tokenizer parse(const nlohmann::json& document) { return Tokenizer::parse(document.dump(), "t.json"); }

/// The message of the TokenizerError that `action` throws, or "" if it throws none.
template <typename Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const TokenizerError& error) {
    return error.what();
  }
  return "";
}

inline std::string parse_error(const nlohmann::json& document) {
  return error_of([&] { parse(document); });
}

}  // namespace evictlab::runtime
