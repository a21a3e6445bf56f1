#include "runtime/tokenizer/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>
#include <utility>

#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/oniguruma.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

template <typename T>
std::unique_ptr<T, Free> own(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return std::unique_ptr<T, Free>(pointer);
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string message(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

// Far above what any tokenizer's pattern needs on one piece, reached in seconds by one that explodes.
constexpr std::uint32_t kMatchLimit = 50'000'000;
constexpr std::uint32_t kHeapLimitKib = 256 * 1024;

}  // namespace

struct Regex::Code {
  Code(std::string_view pattern, std::string_view written, std::uint32_t options) : source(written) {
    const auto context = own(pcre2_compile_context_create(nullptr));
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(units(pattern), pattern.size(), options, &error, &offset, context.get()));
    if (!code) throw TokenizerError("pattern {}: {}", shown(source), message(error));
    // Where the system forbids JIT compilation the interpreter gives the same result, slower.
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  }

  std::string source;  // as the file has it, for messages
  std::unique_ptr<pcre2_code, Free> code;
};

Regex Regex::oniguruma(std::string_view pattern) {
  constexpr std::uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
  return Regex(std::make_shared<const Code>(pcre2_from_oniguruma(pattern), pattern, kOptions));
}

Regex Regex::pcre2(std::string_view pattern) {
  return Regex(std::make_shared<const Code>(pattern, pattern, PCRE2_UTF | PCRE2_UCP));
}

Regex Regex::literal(std::string_view text) {
  return Regex(std::make_shared<const Code>(text, text, PCRE2_UTF | PCRE2_LITERAL));
}

struct RegexSearch::State {
  std::unique_ptr<pcre2_match_data, Free> data;
  std::unique_ptr<pcre2_match_context, Free> context;
};

RegexSearch::RegexSearch(Regex regex) : regex_(std::move(regex)), state_(std::make_unique<State>()) {
  state_->data = own(pcre2_match_data_create(1, nullptr));  // only the whole match is of interest
  state_->context = own(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(state_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(state_->context.get(), kHeapLimitKib);
}

RegexSearch::~RegexSearch() = default;
RegexSearch::RegexSearch(RegexSearch&&) noexcept = default;
RegexSearch& RegexSearch::operator=(RegexSearch&&) noexcept = default;

std::optional<PatternSpan> RegexSearch::next_match(std::string_view text, std::size_t from) {
  const Regex::Code& regex = *regex_.code_;
  const auto match = [&](std::uint32_t options) {
    return pcre2_match(regex.code.get(), units(text), text.size(), from, options | PCRE2_NO_UTF_CHECK,
                       state_->data.get(), state_->context.get());
  };
  int result = match(0);
  // The compiled code has a small stack; the interpreter keeps its own on the heap.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    throw TokenizerError("pattern {} gives up on a text of {} bytes: {}", shown(regex.source), text.size(),
                         message(result));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state_->data.get());
  return PatternSpan{bounds[0], bounds[1], true};
}

const std::vector<PatternSpan>& RegexSearch::spans(std::string_view text) {
  spans_.clear();
  std::size_t done = 0;  // everything before is in spans_
  std::optional<std::size_t> last_end;
  for (std::size_t from = 0; from <= text.size();) {
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
