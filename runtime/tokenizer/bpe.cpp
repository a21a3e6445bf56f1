#include "runtime/tokenizer/bpe.hpp"

#include <fmt/format.h>

#include <functional>
#include <queue>
#include <utility>

#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

constexpr std::int32_t kNone = -1;

// The two sides of a merge, written "a b" or ["a", "b"].
std::pair<std::string_view, std::string_view> merge_sides(const core::JsonNode& merge) {
  if (merge.is_string()) {
    const std::string_view text = merge.string();
    const std::size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (merge.is_array() && merge.size() == 2) {
    const std::vector<core::JsonNode> sides = merge.items();
    return {sides[0].string(), sides[1].string()};
  }
  merge.fail("is no merge; expected \"a b\" or [\"a\", \"b\"]");
}

std::uint64_t key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(left) << 32U | static_cast<std::uint64_t>(right);
}

}  // namespace

// A linked list over the word: a merged pair lives on in its left symbol, the right one becomes dead.
struct Bpe::Symbol {
  std::int32_t id;
  std::uint32_t begin;
  std::uint32_t end;
  std::int32_t previous;  // index, or kNone
  std::int32_t next;
  bool dead = false;
};

Bpe::Bpe(const core::JsonNode& model)
    : vocabulary_(model.at("vocab")),
      fuse_unknown_(model.flag("fuse_unk", false)),
      ignore_merges_(model.flag("ignore_merges", false)) {
  if (const auto type = model.find("type"); type && type->string() != "BPE") refuse_type(model, "BPE");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const auto value = model.find(affix); value && !value->string().empty()) {
      value->fail("{} is not supported; known: none", core::quote(value->string()));
    }
  }
  if (const auto dropout = model.find("dropout"); dropout && dropout->number() != 0) {
    dropout->fail("makes encoding random; expected null");
  }
  if (const auto unknown = model.find("unk_token")) {
    unknown_ = vocabulary_.id(unknown->string());
    if (!unknown_) unknown->fail("{} is not in the vocabulary", core::quote(unknown->string()));
  }
  if (model.flag("byte_fallback", false)) {
    for (int byte = 0; byte < 256; ++byte) byte_tokens_.push_back(vocabulary_.id(fmt::format("<0x{:02X}>", byte)));
  }
  read_merges(model.at("merges"));
}

void Bpe::read_merges(const core::JsonNode& merges) {
  merges_.reserve(merges.size());
  std::string joined;
  std::uint32_t rank = 0;
  for (const core::JsonNode& merge : merges.items()) {
    const auto [left, right] = merge_sides(merge);
    joined.assign(left).append(right);
    const auto id_of = [&](std::string_view token) {
      const auto id = vocabulary_.id(token);
      if (!id) merge.fail("needs the token {}, which is not in the vocabulary", core::quote(token));
      return *id;
    };
    const std::int32_t left_id = id_of(left);
    const std::int32_t right_id = id_of(right);
    // Of a pair that is listed twice the later entry counts, as in the tokenizers library.
    merges_[key(left_id, right_id)] = {rank++, id_of(joined)};
  }
}

const Bpe::Merge* Bpe::find_merge(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

std::vector<Bpe::Symbol> Bpe::characters(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  const auto add = [&](std::int32_t id, std::size_t begin, std::size_t end) {
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), index - 1, index + 1});
  };
  // An unknown character is held back to be fused with the next. Bytes do not flush it: the order that
  // results is the tokenizers library's own.
  std::optional<std::pair<std::size_t, std::size_t>> held;
  const auto flush = [&] {
    if (held) add(*unknown_, held->first, held->second);
    held.reset();
  };
  const auto add_bytes = [&](std::size_t begin, std::size_t end) {
    const auto token = [&](std::size_t i) { return byte_tokens_[static_cast<unsigned char>(word[i])]; };
    if (byte_tokens_.empty()) return false;
    for (std::size_t i = begin; i < end; ++i) {
      if (!token(i)) return false;
    }
    for (std::size_t i = begin; i < end; ++i) add(*token(i), i, i + 1);
    return true;
  };
  for (std::size_t begin = 0; begin < word.size();) {
    const std::size_t end = begin + code_point_at(word, begin).size;
    if (const auto id = vocabulary_.id(word.substr(begin, end - begin))) {
      flush();
      add(*id, begin, end);
    } else if (!add_bytes(begin, end) && unknown_) {
      if (!fuse_unknown_) flush();
      held = {held ? held->first : begin, end};
    }
    begin = end;
  }
  flush();
  if (!symbols.empty()) symbols.back().next = kNone;
  return symbols;
}

void Bpe::merge(std::vector<Symbol>& symbols) const {
  struct Candidate {
    std::uint32_t rank;
    std::int32_t position;  // of the left symbol
    std::int32_t id;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const auto at = [&](std::int32_t position) -> Symbol& { return symbols[static_cast<std::size_t>(position)]; };
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(), std::move(storage));
  const auto consider = [&](std::int32_t position) {
    if (position == kNone || at(position).next == kNone) return;
    const Merge* merge = find_merge(at(position).id, at(at(position).next).id);
    if (merge != nullptr) queue.push({merge->rank, position, merge->id});
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    Symbol& left = at(candidate.position);
    if (left.dead || left.next == kNone) continue;
    Symbol& right = at(left.next);
    // The pair may have changed since it was queued; what counts is that it still becomes the same token.
    const Merge* current = find_merge(left.id, right.id);
    if (current == nullptr || current->id != candidate.id) continue;
    left.id = candidate.id;
    left.end = right.end;
    left.next = right.next;
    right.dead = true;
    if (left.next != kNone) at(left.next).previous = candidate.position;
    consider(left.previous);
    consider(candidate.position);
  }
}

std::vector<WordToken> Bpe::tokenize(std::string_view word) const {
  if (ignore_merges_) {
    if (const auto id = vocabulary_.id(word)) return {{*id, 0, static_cast<std::uint32_t>(word.size())}};
  }
  std::vector<Symbol> symbols = characters(word);
  merge(symbols);
  std::vector<WordToken> tokens;
  for (const Symbol& symbol : symbols) {
    if (!symbol.dead) tokens.push_back({symbol.id, symbol.begin, symbol.end});
  }
  return tokens;
}

}  // namespace evictlab::runtime
