#include "runtime/tokenizer/regex.hpp"

#include <oniguruma.h>

#include <array>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "core/interrupt.hpp"
#include "core/message.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {

// Members of Regex::Code and RegexSearch::State: outside the unnamed namespace, for those are reachable from a header.
namespace oniguruma {

struct Free {
  void operator()(OnigRegex regex) const { onig_free(regex); }
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
  void operator()(OnigMatchParam* parameters) const { onig_free_match_param(parameters); }
};

template <typename T>
using Owned = std::unique_ptr<T, Free>;

template <typename T>
Owned<T> owned(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return Owned<T>(pointer);
}

}  // namespace oniguruma

namespace {

const OnigUChar* bytes_at(std::string_view text, std::size_t at) {
  return reinterpret_cast<const OnigUChar*>(text.data()) + at;
}

std::string error_text(int error, OnigErrorInfo* info) {
  std::array<OnigUChar, ONIG_MAX_ERROR_MESSAGE_LEN> buffer{};
  const int length = info != nullptr ? onig_error_code_to_str(buffer.data(), error, info)
                                     : onig_error_code_to_str(buffer.data(), error);
  return core::one_line({reinterpret_cast<const char*>(buffer.data()), static_cast<std::size_t>(length)});
}

void initialize_library() {
  static const int kResult = [] {
    OnigEncoding utf8 = ONIG_ENCODING_UTF8;
    return onig_initialize(&utf8, 1);
  }();
  if (kResult != ONIG_NORMAL) throw std::bad_alloc();
}

// Far above what any tokenizer's pattern needs on one piece, reached in seconds by one that explodes.
constexpr unsigned long kMostRetries = 50'000'000;
// An entry of the library's stack takes 40 bytes or less.
constexpr unsigned kMostStackEntries = (256U << 20U) / 40U;

}  // namespace

struct Regex::Code {
  Code(std::string_view pattern, OnigSyntaxType* syntax) : source(pattern) {
    initialize_library();
    OnigRegex compiled = nullptr;
    OnigErrorInfo info = {};
    const int result = onig_new(&compiled, bytes_at(pattern, 0), bytes_at(pattern, pattern.size()), ONIG_OPTION_NONE,
                                ONIG_ENCODING_UTF8, syntax, &info);
    if (result != ONIG_NORMAL) {
      throw TokenizerError("pattern {}: {}", core::quote(source), error_text(result, &info));
    }
    regex.reset(compiled);
  }

  std::string source;
  oniguruma::Owned<std::remove_pointer_t<OnigRegex>> regex;
};

Regex Regex::compile(std::string_view pattern) {
  return Regex(std::make_shared<const Code>(pattern, ONIG_SYNTAX_DEFAULT));
}

Regex Regex::literal(std::string_view text) { return Regex(std::make_shared<const Code>(text, ONIG_SYNTAX_ASIS)); }

Regex Regex::read(const core::JsonNode& node) {
  if (const auto text = node.find("String")) {
    if (text->string().empty()) text->fail("is empty");
    return literal(text->string());
  }
  const auto pattern = node.find("Regex");
  if (!pattern) node.fail("expected a 'String' or a 'Regex'");
  try {
    return compile(pattern->string());
  } catch (const TokenizerError& error) {
    pattern->fail("{}", error.what());
  }
}

struct RegexSearch::State {
  oniguruma::Owned<OnigRegion> region = oniguruma::owned(onig_region_new());
  oniguruma::Owned<OnigMatchParam> parameters = oniguruma::owned(onig_new_match_param());
};

RegexSearch::RegexSearch(Regex regex) : regex_(std::move(regex)), state_(std::make_unique<State>()) {
  OnigMatchParam* const parameters = state_->parameters.get();
  onig_initialize_match_param(parameters);
  onig_set_retry_limit_in_match_of_match_param(parameters, kMostRetries);
  onig_set_retry_limit_in_search_of_match_param(parameters, kMostRetries);
  onig_set_match_stack_limit_size_of_match_param(parameters, kMostStackEntries);
}

RegexSearch::~RegexSearch() = default;
RegexSearch::RegexSearch(RegexSearch&&) noexcept = default;
RegexSearch& RegexSearch::operator=(RegexSearch&&) noexcept = default;

std::optional<PatternSpan> RegexSearch::next_match(std::string_view text, std::size_t from) {
  const Regex::Code& code = *regex_.code_;
  const OnigUChar* const end = bytes_at(text, text.size());
  const int result = onig_search_with_param(code.regex.get(), bytes_at(text, 0), end, bytes_at(text, from), end,
                                            state_->region.get(), ONIG_OPTION_NONE, state_->parameters.get());
  if (result == ONIG_MISMATCH) return std::nullopt;
  if (result < 0) {
    throw TokenizerError("pattern {} gives up on a text of {} bytes: {}", core::quote(code.source), text.size(),
                         error_text(result, nullptr));
  }
  const PatternSpan match{static_cast<std::size_t>(state_->region->beg[0]),
                          static_cast<std::size_t>(state_->region->end[0]), true};
  // What cuts the text counts on it, whatever \K moves.
  if (match.begin < from || match.begin > match.end) {
    throw TokenizerError("pattern {} matches backwards", core::quote(code.source));
  }
  return match;
}

const std::vector<PatternSpan>& RegexSearch::spans(std::string_view text) {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw TokenizerError("text of {} bytes; patterns read at most 2^31-1", text.size());
  }
  spans_.clear();
  std::size_t done = 0;  // everything before is in spans_
  std::optional<std::size_t> last_end;
  for (std::size_t from = 0; from <= text.size();) {
    core::throw_if_interrupted();
    const auto match = next_match(text, from);
    if (!match) break;
    if (match->begin == match->end && last_end == match->end) {
      if (match->end == text.size()) break;
      from = match->end + code_point_at(text, match->end).size;
      continue;
    }
    if (done < match->begin) spans_.push_back({done, match->begin, false});
    spans_.push_back(*match);
    done = match->end;
    from = match->end;
    last_end = match->end;
  }
  if (done < text.size()) spans_.push_back({done, text.size(), false});
  return spans_;
}

}  // namespace evictlab::runtime
