#include "runtime/prompts/shared_text.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>

#include "core/interrupt.hpp"

namespace evictlab::runtime {
namespace {

/// Every run of kSharedTokens tokens has one whole block among those that begin at multiples of its size.
constexpr std::size_t kBlock = kSharedTokens / 2;
constexpr std::uint64_t kBase = 0x9e3779b97f4a7c15U;

using TokenSpan = std::span<const std::int32_t>;

std::string document_of(const TokenizedPrompt& prompt) { return prompt.document.empty() ? prompt.id : prompt.document; }

/// How many tokens all prompts of a task begin with.
std::map<std::string, std::size_t> template_lengths(const std::vector<TokenizedPrompt>& prompts) {
  std::map<std::string, const TokenizedPrompt*> first;
  std::map<std::string, std::size_t> common;
  for (const TokenizedPrompt& prompt : prompts) {
    const auto [other, is_new] = first.try_emplace(prompt.task, &prompt);
    if (is_new) continue;
    const auto [a, b] = std::ranges::mismatch(other->second->tokens, prompt.tokens);
    const auto length = static_cast<std::size_t>(b - prompt.tokens.begin());
    const auto [known, is_first] = common.try_emplace(prompt.task, length);
    if (!is_first) known->second = std::min(known->second, length);
  }
  return common;
}

TokenSpan context_of(const TokenizedPrompt& prompt, const std::map<std::string, std::size_t>& templates) {
  const TokenSpan all(prompt.tokens);
  const auto span = std::ranges::find(prompt.spans, "context", &trace::Span::name);
  if (span != prompt.spans.end()) {
    const auto end = std::min(static_cast<std::size_t>(span->end), all.size());
    const auto begin = std::min(static_cast<std::size_t>(span->begin), end);
    return all.subspan(begin, end - begin);
  }
  const auto known = templates.find(prompt.task);
  return known == templates.end() ? all : all.subspan(std::min(known->second, all.size()));
}

/// Calls use(position, hash) for every kBlock tokens in a row; rolls from one to the next.
template <typename Use>
void each_block(TokenSpan tokens, const Use& use) {
  std::uint64_t power = 1;
  for (std::size_t i = 1; i < kBlock; ++i) power *= kBase;
  std::uint64_t hash = 0;
  const auto value = [&](std::size_t i) { return static_cast<std::uint64_t>(tokens[i]) + 1; };
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i >= kBlock) hash -= power * value(i - kBlock);
    hash = hash * kBase + value(i);
    if (i + 1 >= kBlock) use(i + 1 - kBlock, hash);
  }
}

/// The length of the run of equal tokens about a[i] and b[j].
std::size_t run_about(TokenSpan a, std::size_t i, TokenSpan b, std::size_t j) {
  std::size_t before = 0;
  while (before < std::min(i, j) && a[i - before - 1] == b[j - before - 1]) ++before;
  std::size_t after = 0;
  while (i + after < a.size() && j + after < b.size() && a[i + after] == b[j + after]) ++after;
  return before + after;
}

}  // namespace

std::vector<SharedText> merge_documents_by_text(std::vector<TokenizedPrompt>& prompts) {
  const auto templates = template_lengths(prompts);
  std::vector<TokenSpan> contexts;
  for (const TokenizedPrompt& prompt : prompts) contexts.push_back(context_of(prompt, templates));
  std::map<std::string, std::string> merged;  // document → the one that it became
  const auto root = [&](std::string document) {
    for (auto next = merged.find(document); next != merged.end(); next = merged.find(document)) document = next->second;
    return document;
  };
  using Place = std::pair<std::size_t, std::size_t>;             // prompt, position
  std::unordered_map<std::uint64_t, std::vector<Place>> blocks;  // of the prompts before, the first of each
  std::vector<SharedText> shared;
  for (std::size_t own = 0; own < prompts.size(); ++own) {
    core::throw_if_interrupted();
    each_block(contexts[own], [&](std::size_t position, std::uint64_t hash) {
      const auto found = blocks.find(hash);
      if (found == blocks.end()) return;
      for (const auto& [other, there] : found->second) {
        const std::string first = root(document_of(prompts[other]));
        const std::string second = root(document_of(prompts[own]));
        if (first == second) continue;
        const std::size_t run = run_about(contexts[other], there, contexts[own], position);
        if (run < kSharedTokens) continue;
        merged[second] = first;
        shared.push_back({prompts[other].id, prompts[own].id, run});
      }
    });
    each_block(contexts[own], [&](std::size_t position, std::uint64_t hash) {
      if (position % kBlock != 0) return;
      std::vector<Place>& places = blocks[hash];
      if (places.empty() || places.back().first != own) places.emplace_back(own, position);
    });
  }
  for (TokenizedPrompt& prompt : prompts) {
    const std::string document = root(document_of(prompt));
    if (document != document_of(prompt) || !prompt.document.empty()) prompt.document = document;
  }
  // The first of prompts without a document gives its id to the others: it then names it as well.
  for (TokenizedPrompt& prompt : prompts) {
    const bool named = std::ranges::any_of(merged, [&](const auto& entry) { return entry.second == prompt.id; });
    if (prompt.document.empty() && named) prompt.document = prompt.id;
  }
  return shared;
}

}  // namespace evictlab::runtime
