#include "runtime/tokenizer/oniguruma.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <optional>
#include <vector>

#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

// The complement of kWhiteSpaceMembers, as the inside of a class.
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{E}-\x{1F}\x{21}-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027})"
    R"(\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{10FFFF})";
// Oniguruma's \w, by its tables: on its own it also takes the superscripts and fractions of Latin-1, as part
// of a class it does not.
constexpr std::string_view kWordInBrackets = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

// Names that PCRE2 and Oniguruma both know and mean the same by; any other is taken for a script.
constexpr std::array<std::string_view, 37> kCategories = {
    "Any", "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo",        "Lt", "Lu",
    "M",   "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd",        "Pe", "Pf",
    "Pi",  "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Alphabetic"};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) element();
    if (!groups_.empty()) refuse("a group that is not closed");
    return std::move(out_);
  }

 private:
  struct Group {
    std::size_t atom;  // where the group starts in out_
    bool caseless;     // what holds again after it
    bool repeatable;   // look-around groups and option settings are not
  };

  [[noreturn]] void refuse(std::string_view what) const {
    throw TokenizerError("pattern {}: {} (at byte {}) is not supported", shown(in_), what, at_);
  }

  bool starts(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  void element() {
    const char c = in_[at_];
    if (c == '(') return open_group();
    if (c == ')') return close_group();
    if (c == '[') return bracket_class();
    if (c == '\\') return escape();
    if (c == '*' || c == '+' || c == '?' || c == '{') return quantifier();
    begin_atom();
    if (c == '|' || c == '^' || c == '$') atom_.reset();
    if (c == '|' || c == '^' || c == '$' || c == '.') {
      previous_letter_ = 0;
      out_ += c;
      ++at_;
    } else {
      const CodePoint literal = code_point_at(in_, at_);
      put_literal(literal.value);
      at_ += literal.size;
    }
  }

  void begin_atom() { atom_ = out_.size(); }

  void put_literal(char32_t c) {
    if (caseless_) check_folding(c);
    previous_letter_ = c;
    if (c < 0x80 && !std::isalnum(static_cast<int>(c)) && c > 0x20 && c != 0x7F) out_ += '\\';
    append_utf8(out_, c);
  }

  // Oniguruma matches ß with (?i:ss): one character against several. PCRE2 folds one to one.
  void check_folding(char32_t c) const {
    if (c >= 0x80) refuse("ignoring the case of a letter outside ASCII");
    constexpr std::array<std::string_view, 5> kLigatures = {"ff", "fi", "fl", "ss", "st"};
    const std::string pair = {
        static_cast<char>(std::tolower(static_cast<int>(previous_letter_ < 0x80 ? previous_letter_ : 0))),
        static_cast<char>(std::tolower(static_cast<int>(c)))};
    if (std::find(kLigatures.begin(), kLigatures.end(), pair) != kLigatures.end()) {
      refuse("ignoring the case of letters that have a ligature");
    }
  }

  void open_group() {
    begin_atom();
    previous_letter_ = 0;
    if (!starts("(?")) {
      groups_.push_back({out_.size(), caseless_, true});
      out_ += "(?:";  // nothing refers back to it, so it need not capture
      ++at_;
      return;
    }
    struct Opening {
      std::string_view oniguruma;
      std::string_view pcre2;
      bool repeatable;
      std::optional<bool> caseless;
    };
    static constexpr std::array<Opening, 9> kOpenings = {{{"(?:", "(?:", true, {}},
                                                          {"(?=", "(?=", false, {}},
                                                          {"(?!", "(?!", false, {}},
                                                          {"(?<=", "(?<=", false, {}},
                                                          {"(?<!", "(?<!", false, {}},
                                                          {"(?>", "(?>", true, {}},
                                                          {"(?i:", "(?i:", true, true},
                                                          {"(?-i:", "(?-i:", true, false},
                                                          {"(?m:", "(?s:", true, {}}}};
    for (const Opening& opening : kOpenings) {
      if (!starts(opening.oniguruma)) continue;
      groups_.push_back({out_.size(), caseless_, opening.repeatable});
      if (opening.caseless) caseless_ = *opening.caseless;
      out_ += opening.pcre2;
      at_ += opening.oniguruma.size();
      return;
    }
    // Later in a pattern Ruby lets such a setting enclose the alternatives that follow, PCRE2 does not.
    if (at_ == 0 && (starts("(?i)") || starts("(?m)"))) {
      caseless_ = in_[2] == 'i';
      out_ += caseless_ ? "(?i)" : "(?s)";
      at_ += 4;
      atom_.reset();
      return;
    }
    refuse("this kind of group");
  }

  void close_group() {
    if (groups_.empty()) refuse("a ')' that closes nothing");
    const Group group = groups_.back();
    groups_.pop_back();
    caseless_ = group.caseless;
    previous_letter_ = 0;
    atom_.reset();
    if (group.repeatable) atom_ = group.atom;
    out_ += ')';
    ++at_;
  }

  void quantifier() {
    const std::size_t begin = at_;
    std::string text(1, in_[at_++]);
    bool interval = false;
    if (text == "{") {
      const auto bounds = interval_at(begin);
      if (!bounds) {  // a brace of its own
        begin_atom();
        put_literal(U'{');
        return;
      }
      text = *bounds;
      interval = true;
    }
    if (!atom_) {
      at_ = begin;
      refuse("a quantifier of nothing");
    }
    previous_letter_ = 0;
    if (at_ < in_.size() && in_[at_] == '?' && !(interval && text.find(',') == std::string::npos)) {
      text += in_[at_++];
    } else if (at_ < in_.size() && in_[at_] == '+' && !interval) {
      text += in_[at_++];
    }
    // Enclosed, so that a quantifier that follows counts the whole and is read as nothing else.
    out_.insert(*atom_, "(?:");
    out_ += text + ')';
  }

  // The interval {n}, {n,}, {n,m} or {,m} at `begin` in PCRE2's notation; nothing if it is none.
  std::optional<std::string> interval_at(std::size_t begin) {
    const std::size_t end = in_.find('}', begin);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view body = in_.substr(begin + 1, end - begin - 1);
    const std::size_t comma = std::min(body.find(','), body.size());
    const std::string_view low = body.substr(0, comma);
    const std::string_view high = body.substr(std::min(comma + 1, body.size()));
    const auto digits = [](std::string_view s) {
      return s.size() <= 5 && std::all_of(s.begin(), s.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    };
    if (!digits(low) || !digits(high) || (low.empty() && high.empty())) return std::nullopt;
    at_ = end + 1;
    return fmt::format("{{{}{}{}}}", low.empty() ? "0" : low, comma < body.size() ? "," : "", high);
  }

  void escape() {
    if (at_ + 1 >= in_.size()) refuse("a backslash at the end");
    begin_atom();
    const char c = in_[at_ + 1];
    const bool known = class_escape(c, false);
    if (!known && (c == 'b' || c == 'B')) {
      // PCRE2's own \b goes by its own \w.
      constexpr std::string_view kAtBoundary = "(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))";
      constexpr std::string_view kInside = "(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))";
      out_ += c == 'b' ? fmt::format(kAtBoundary, kWord) : fmt::format(kInside, kWord);
      atom_.reset();
      at_ += 2;
    } else if (!known && (c == 'A' || c == 'z')) {
      out_ += in_.substr(at_, 2);
      atom_.reset();
      at_ += 2;
    } else if (!known) {
      put_literal(escaped_character());
      return;
    }
    previous_letter_ = 0;
  }

  // A class such as \s or \p{L}, on its own or as part of a bracket class.
  bool class_escape(char c, bool in_brackets) {
    const auto put = [&](std::string_view members, bool negated) {
      at_ += 2;
      if (in_brackets) {
        if (negated) refuse("a negated \\w inside a class");
        out_ += members;
      } else {
        out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
      }
    };
    switch (c) {
      case 's':
        put(kWhiteSpaceMembers, false);
        return true;
      case 'S':
        put(kNotSpace, false);
        return true;
      case 'w':
        put(in_brackets ? kWordInBrackets : kWord, false);
        return true;
      case 'W':
        put(kWord, true);
        return true;
      case 'd':
      case 'D':
        out_ += c == 'd' ? R"(\p{Nd})" : R"(\P{Nd})";
        at_ += 2;
        return true;
      case 'p':
      case 'P':
        property();
        return true;
      default:
        return false;
    }
  }

  void property() {
    const std::size_t end = in_.find('}', at_);
    if (in_.substr(at_ + 2, 1) != "{" || end == std::string_view::npos) refuse("\\p without {...}");
    bool negated = in_[at_ + 1] == 'P';
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const bool well_formed = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalpha(c) != 0 || c == '_';
    });
    if (!well_formed) refuse("this property name");
    const bool category = std::find(kCategories.begin(), kCategories.end(), name) != kCategories.end();
    out_ += fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', category ? "" : "sc:", name);
    at_ = end + 1;
  }

  // The character that the escape at at_ stands for; at_ moves past it.
  char32_t escaped_character() {
    const char c = in_[at_ + 1];
    constexpr std::string_view kNames = "tnrfvae";
    constexpr std::string_view kValues = "\t\n\r\f\v\a\x1B";
    if (const std::size_t index = kNames.find(c); index != std::string_view::npos) {
      at_ += 2;
      return static_cast<char32_t>(kValues[index]);
    }
    if (c == 'x' && in_.substr(at_ + 2, 1) == "{") {
      const std::size_t end = in_.find('}', at_);
      if (end == std::string_view::npos) refuse("\\x{ without }");
      return hexadecimal(at_ + 3, end - at_ - 3, end + 1);
    }
    if (c == 'x') {
      const char32_t value = hexadecimal(at_ + 2, 2, at_ + 4);
      if (value >= 0x80) refuse("\\x of a single byte");
      return value;
    }
    if (c == 'u') return hexadecimal(at_ + 2, 4, at_ + 6);
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) refuse(fmt::format("\\{}", c));
    const CodePoint literal = code_point_at(in_, at_ + 1);
    at_ += 1 + literal.size;
    return literal.value;
  }

  char32_t hexadecimal(std::size_t begin, std::size_t count, std::size_t next) {
    const std::string_view digits = in_.substr(std::min(begin, in_.size()), count);
    const bool hex = digits.size() == count && count >= 1 && count <= 6 &&
                     std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
    if (!hex) refuse("a hexadecimal escape that is not complete");
    const auto value = static_cast<char32_t>(std::stoul(std::string(digits), nullptr, 16));
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) refuse("an escape that is no character");
    at_ = next;
    return value;
  }

  void bracket_class() {
    begin_atom();
    previous_letter_ = 0;
    out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == '^') out_ += in_[at_++];
    bool first = true;
    while (true) {
      if (at_ >= in_.size()) refuse("a class that is not closed");
      if (in_[at_] == ']') break;
      if (starts("&&")) refuse("an intersection of classes");
      if (in_[at_] == '[') refuse("a class inside a class");
      class_member(first);
      first = false;
    }
    if (first) refuse("an empty class");
    out_ += in_[at_++];
  }

  void class_member(bool first) {
    if (in_[at_] == '\\') {
      if (at_ + 1 >= in_.size()) refuse("a backslash at the end");
      if (in_[at_ + 1] == 'b') {
        out_ += "\\x08";
        at_ += 2;
      } else if (!class_escape(in_[at_ + 1], true)) {
        put_member(escaped_character());
      }
      return;
    }
    if (in_[at_] == '-') {  // a range, or itself at either end of the class
      const bool range = !first && at_ + 1 < in_.size() && in_[at_ + 1] != ']';
      out_ += range ? "-" : "\\-";
      ++at_;
      return;
    }
    const CodePoint literal = code_point_at(in_, at_);
    put_member(literal.value);
    at_ += literal.size;
  }

  void put_member(char32_t c) {
    if (caseless_ && c >= 0x80) refuse("ignoring the case of a letter outside ASCII");
    out_ += fmt::format("\\x{{{:X}}}", static_cast<unsigned>(c));
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
  std::vector<Group> groups_;
  std::optional<std::size_t> atom_;  // where the atom that a quantifier would repeat starts in out_
  bool caseless_ = false;
  char32_t previous_letter_ = 0;  // the literal just before, 0 if there is none
};

}  // namespace

std::string pcre2_from_oniguruma(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace evictlab::runtime
