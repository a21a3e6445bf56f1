#include "runtime/tokenizer/added_tokens.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "core/interrupt.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

AddedToken read_token(const core::JsonNode& node) {
  return {.id = static_cast<std::int32_t>(node.at("id").integer(0, kMaxTokenId)),
          .content = node.at("content").string(),
          .text = node.at("content").string(),
          .single_word = node.at("single_word").boolean(),
          .lstrip = node.at("lstrip").boolean(),
          .rstrip = node.at("rstrip").boolean(),
          .normalized = node.at("normalized").boolean(),
          .special = node.at("special").boolean()};
}

bool is_word(char32_t c, RegexSearch& word) {
  std::string text;
  append_utf8(text, c);
  return word.spans(text).front().matched;
}

}  // namespace

void LongestMatch::add(std::string_view text, std::size_t value) {
  std::size_t node = 0;
  for (const char c : text) {
    const auto [child, is_new] = nodes_[node].children.try_emplace(static_cast<unsigned char>(c), nodes_.size());
    node = child->second;
    if (is_new) nodes_.emplace_back();
  }
  if (!nodes_[node].value) nodes_[node].value = value;
}

std::optional<LongestMatch::Match> LongestMatch::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    core::throw_if_interrupted();
    std::optional<Match> longest;
    std::size_t node = 0;
    for (std::size_t at = begin; at < text.size(); ++at) {
      const auto child = nodes_[node].children.find(static_cast<unsigned char>(text[at]));
      if (child == nodes_[node].children.end()) break;
      node = child->second;
      if (nodes_[node].value) longest = {begin, at + 1, *nodes_[node].value};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

std::vector<AddedToken> read_added_tokens(const std::optional<core::JsonNode>& list, const Vocabulary& vocabulary,
                                          const Normalizer& normalizer) {
  std::vector<AddedToken> tokens;
  std::unordered_set<std::string> contents;
  // The tokenizers library numbers the tokens it does not find in the vocabulary by itself.
  auto next_id = static_cast<std::int32_t>(vocabulary.size());
  for (const core::JsonNode& node : list ? list->items() : std::vector<core::JsonNode>{}) {
    AddedToken token = read_token(node);
    if (token.content.empty()) node.fail("the content is empty");
    if (!contents.insert(token.content).second) node.fail("{} is listed twice", core::quote(token.content));
    const auto known = vocabulary.id(token.content);
    const std::int32_t expected = known ? *known : next_id;
    if (token.id != expected) {
      node.fail("{} has the id {}; {} gives it {}", core::quote(token.content), token.id,
                known ? "the vocabulary" : "its place after the other tokens", expected);
    }
    if (!known) {
      if (const std::string* other = vocabulary.token(token.id)) {
        node.fail("{} has the id {} of the token {}", core::quote(token.content), token.id, core::quote(*other));
      }
      ++next_id;
    }
    if (token.normalized && normalizer) token.text = normalizer(align(token.content)).bytes;
    if (token.text.empty()) node.fail("{} is empty once normalized", core::quote(token.content));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), word_(Regex::compile(kRustWord)) {
  // Where two tokens normalize to the same text, a special one is found; the library leaves it to chance.
  for (const bool special : {true, false}) {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].special == special) (tokens_[i].normalized ? normalized_ : raw_).add(tokens_[i].text, i);
    }
  }
}

void AddedTokens::extract(PiecedText& text, bool normalized) const {
  RegexSearch word(word_);
  const LongestMatch& matcher = normalized ? normalized_ : raw_;
  split_pieces(text, [&](std::string_view piece, std::vector<Piece>& pieces) { find(piece, matcher, word, pieces); });
}

void AddedTokens::find(std::string_view text, const LongestMatch& matcher, RegexSearch& word,
                       std::vector<Piece>& pieces) const {
  // A match in white space that the token before took along counts again, unless the token takes along
  // what precedes it: the tokenizers library does so.
  std::size_t done = 0;
  for (auto match = matcher.find(text, 0); match; match = matcher.find(text, match->end)) {
    const AddedToken& token = tokens_[match->value];
    std::size_t begin = match->begin;
    std::size_t end = match->end;
    if (token.single_word) {
      const bool word_before = begin > 0 && is_word(code_point_before(text, begin).value, word);
      const bool word_after = end < text.size() && is_word(code_point_at(text, end).value, word);
      if (word_before || word_after) continue;
    }
    if (token.lstrip) {
      while (begin > 0 && is_white_space(code_point_before(text, begin).value)) {
        begin -= code_point_before(text, begin).size;
      }
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      while (end < text.size() && is_white_space(code_point_at(text, end).value)) end += code_point_at(text, end).size;
    }
    if (done < begin) pieces.push_back({done, begin, kNoToken});
    pieces.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({done, text.size(), kNoToken});
}

}  // namespace evictlab::runtime
