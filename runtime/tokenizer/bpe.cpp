#include "runtime/tokenizer/bpe.hpp"

#include <fmt/format.h>

#include <algorithm>
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

Bpe::Bpe(Vocabulary vocabulary, const Options& options)
    : vocabulary_(std::move(vocabulary)),
      unknown_(options.unknown),
      fuse_unknown_(options.fuse_unknown),
      ignore_merges_(options.ignore_merges) {
  for (int byte = 0; options.byte_fallback && byte < 256; ++byte) {
    byte_tokens_.push_back(vocabulary_.id(fmt::format("<0x{:02X}>", byte)));
  }
}

Bpe::Bpe(const core::JsonNode& model)
    : Bpe(Vocabulary(model.at("vocab")), {.byte_fallback = model.flag("byte_fallback", false),
                                          .fuse_unknown = model.flag("fuse_unk", false),
                                          .ignore_merges = model.flag("ignore_merges", false)}) {
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
  const core::JsonNode merges = model.at("merges");
  merges_.reserve(merges.size());
  for (const core::JsonNode& merge : merges.items()) {
    const auto [left, right] = merge_sides(merge);
    if (const auto missing = add_merge(left, right)) {
      merge.fail("needs the token {}, which is not in the vocabulary", core::quote(*missing));
    }
  }
}

std::optional<std::string> Bpe::add_merge(std::string_view left, std::string_view right) {
  std::string joined(left);
  joined += right;
  const auto left_id = vocabulary_.id(left);
  const auto right_id = vocabulary_.id(right);
  const auto id = vocabulary_.id(joined);
  if (!left_id) return std::string(left);
  if (!right_id) return std::string(right);
  if (!id) return joined;
  // Of a pair that is listed twice the later entry counts, as in the tokenizers library.
  merges_[key(*left_id, *right_id)] = {next_rank_++, *id};
  return std::nullopt;
}

void Bpe::add_scored_merges(std::span<const float> scores, const std::vector<bool>& mergeable) {
  std::vector<float> ranked(scores.begin(), scores.end());
  std::ranges::sort(ranked, std::greater<>());
  const auto [first, last] = std::ranges::unique(ranked);
  ranked.erase(first, last);
  const auto part = [&](std::string_view text) {
    const auto id = vocabulary_.id(text);
    return id && mergeable[static_cast<std::size_t>(*id)] ? id : std::nullopt;
  };
  for (std::int32_t id = 0; id < vocabulary_.id_limit(); ++id) {
    const std::string_view text = *vocabulary_.token(id);
    if (!mergeable[static_cast<std::size_t>(id)] || text.empty() || vocabulary_.id(text) != id) continue;
    // Equal scores have equal ranks: then the leftmost pair is joined first.
    const auto rank =
        std::ranges::lower_bound(ranked, scores[static_cast<std::size_t>(id)], std::greater<>()) - ranked.begin();
    for (std::size_t cut = code_point_at(text, 0).size; cut < text.size(); cut += code_point_at(text, cut).size) {
      const auto left = part(text.substr(0, cut));
      const auto right = part(text.substr(cut));
      if (left && right) merges_[key(*left, *right)] = {next_rank_ + static_cast<std::uint32_t>(rank), id};
    }
  }
  next_rank_ += static_cast<std::uint32_t>(ranked.size());
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
