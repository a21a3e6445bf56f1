#include "runtime/prompts/jinja/lexer.hpp"

#include <algorithm>
#include <array>

#include "core/message.hpp"
#include "runtime/prompts/jinja/value.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime::jinja {
namespace {

using Kind = Token::Kind;

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Line breaks as Jinja's: \n alone, none at the very end.
std::string with_plain_breaks(std::string_view source) {
  std::string text;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      text += '\n';
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = next_tag();
      read_text(tag);
      if (tag < source_.size()) read_tag();
    }
    add(Kind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw JinjaError("line {}: {}", line_, fmt::format(format, std::forward<Args>(args)...));
  }

  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  std::string_view rest() const { return source_.substr(at_); }

  void advance(std::size_t count) {
    line_ += static_cast<int>(std::ranges::count(source_.substr(at_, count), '\n'));
    at_ += count;
  }

  std::size_t next_tag() const {
    for (std::size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return source_.size();
  }

  /// The text before the tag at `tag`, less what the tag takes away.
  void read_text(std::size_t tag) {
    std::string_view text = source_.substr(at_, tag - at_);
    if (tag + 2 < source_.size() && source_[tag + 2] == '-') {
      text = strip_end(text);
    } else if (tag < source_.size() && source_[tag + 1] != '{' &&
               (tag + 2 == source_.size() || source_[tag + 2] != '+')) {
      const std::size_t line = text.rfind('\n') + 1;  // 0 without one
      const bool begins_line = line > 0 || line_begins_;
      const std::string_view indent = text.substr(line);
      if (begins_line && strip_start(indent).empty()) text = text.substr(0, line);
    }
    if (!text.empty()) add(Kind::kText, std::string(text));
    advance(tag - at_);
  }

  void read_tag() {
    const char kind = source_[at_ + 1];
    const bool block = kind == '%';
    if (kind == '#') {
      const std::size_t end = source_.find("#}", at_ + 2);
      if (end == std::string_view::npos) fail("a comment is not closed");
      const char sign = end > at_ + 2 ? source_[end - 1] : ' ';
      advance(end + 2 - at_);
      close(sign, true);
      return;
    }
    add(block ? Kind::kBlockBegin : Kind::kOutputBegin, {});
    advance(2);
    if (!rest().empty() && (rest().front() == '-' || rest().front() == '+')) advance(1);
    while (!read_end(block)) read_token(block);
  }

  /// Whether the tag ends here; then what follows is less what it takes away.
  bool read_end(bool block) {
    while (!rest().empty() && strip_start(rest()).size() < rest().size()) {
      advance(rest().size() - strip_start(rest()).size());
    }
    if (rest().empty()) fail("a tag is not closed");
    if (!open_.empty()) return false;
    const std::string_view end = block ? "%}" : "}}";
    const char sign = rest().front();
    const bool has_sign = (sign == '-' || (block && sign == '+')) && rest().substr(1).starts_with(end);
    if (!has_sign && !rest().starts_with(end)) return false;
    add(block ? Kind::kBlockEnd : Kind::kOutputEnd, {});
    advance(has_sign ? 3 : 2);
    close(has_sign ? sign : ' ', block);
    return true;
  }

  void close(char sign, bool trims_break) {
    const std::size_t before = at_;
    if (sign == '-') {
      advance(rest().size() - strip_start(rest()).size());
    } else if (sign != '+' && trims_break && rest().starts_with('\n')) {
      advance(1);
    }
    line_begins_ = at_ > before && source_[at_ - 1] == '\n';
  }

  void read_token(bool block) {
    const char first = rest().front();
    std::size_t size = 0;
    if (is_name_start(first)) {
      while (size < rest().size() && (is_name_start(rest()[size]) || is_digit(rest()[size]))) ++size;
      add(Kind::kName, std::string(rest().substr(0, size)));
    } else if (is_digit(first)) {
      while (size < rest().size() && is_digit(rest()[size])) ++size;
      const bool fraction = size + 1 < rest().size() && rest()[size] == '.' && is_digit(rest()[size + 1]);
      if (fraction) ++size;
      while (fraction && size < rest().size() && is_digit(rest()[size])) ++size;
      add(Kind::kNumber, std::string(rest().substr(0, size)));
    } else if (first == '\'' || first == '"') {
      size = read_string(first);
    } else {
      size = read_operator(block);
    }
    advance(size);
  }

  std::size_t read_operator(bool block) {
    static constexpr std::array<std::string_view, 6> kLong = {"==", "!=", "<=", ">=", "//", "**"};
    const auto found = std::ranges::find_if(kLong, [&](std::string_view word) { return rest().starts_with(word); });
    const std::string word(found != kLong.end() ? *found : rest().substr(0, 1));
    if (word.size() == 1 && std::string_view("+-*/%~<>=.,:|()[]{}").find(word) == std::string_view::npos) {
      fail("{} has no meaning in a {}", core::quote(word), block ? "block" : "value");
    }
    if (word == "(" || word == "[" || word == "{") open_ += word == "(" ? ')' : word == "[" ? ']' : '}';
    if (word == ")" || word == "]" || word == "}") {
      if (open_.empty() || open_.back() != word.front()) fail("an unexpected '{}'", word);
      open_.pop_back();
    }
    add(Kind::kOperator, word);
    return word.size();
  }

  std::size_t read_string(char quote) {
    std::string text;
    std::size_t i = 1;
    for (; i < rest().size() && rest()[i] != quote; ++i) {
      if (rest()[i] != '\\' || i + 1 == rest().size()) {
        text += rest()[i];
        continue;
      }
      i += read_escape(rest().substr(i + 1), text);
    }
    if (i >= rest().size()) fail("a text is not closed");
    add(Kind::kString, std::move(text));
    return i + 1;
  }

  /// What follows a backslash, as in Python's literals; returns how many characters it took.
  std::size_t read_escape(std::string_view after, std::string& text) const {
    static constexpr std::string_view kLetters = "abfnrtv\\'\"";
    static constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    const char letter = after.front();
    if (const std::size_t place = kLetters.find(letter); place != std::string_view::npos) {
      text += kMeanings[place];
      return 1;
    }
    if (letter == '\n') return 1;
    const std::size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    if (digits == 0) {
      if (is_digit(letter)) fail("a text has an octal escape");
      text += '\\';  // as Python keeps what it does not know
      text += letter;
      return 1;
    }
    char32_t code = 0;
    for (std::size_t i = 1; i <= digits; ++i) {
      const char c = i < after.size() ? after[i] : ' ';
      const bool letter_digit = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (!is_digit(c) && !letter_digit) fail("a text has a '\\{}' without {} digits", letter, digits);
      code = code * 16 + static_cast<char32_t>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) fail("a text has an escape that is no character");
    append_utf8(text, code);
    return digits + 1;
  }

  std::string_view source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_begins_ = true;  // nothing but what a tag dropped precedes at_ on its line
  std::string open_;         // closing brackets still to come, the innermost last
  std::vector<Token> tokens_;
};

}  // namespace

bool is_python_space(char32_t code_point) {
  return is_white_space(code_point) || (code_point >= 0x1C && code_point <= 0x1F);
}

std::string_view strip_start(std::string_view text) {
  while (!text.empty()) {
    const CodePoint first = code_point_at(text, 0);
    if (!is_python_space(first.value)) break;
    text.remove_prefix(first.size);
  }
  return text;
}

std::string_view strip_end(std::string_view text) {
  while (!text.empty()) {
    const CodePoint last = code_point_before(text, text.size());
    if (!is_python_space(last.value)) break;
    text.remove_suffix(last.size);
  }
  return text;
}

std::vector<Token> tokens_of(std::string_view source) {
  if (find_invalid_utf8(source)) throw JinjaError("is not UTF-8");
  return Lexer(with_plain_breaks(source)).run();
}

}  // namespace evictlab::runtime::jinja
