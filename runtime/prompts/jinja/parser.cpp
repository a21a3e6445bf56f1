#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "core/message.hpp"
#include "core/text.hpp"
#include "runtime/prompts/jinja/lexer.hpp"
#include "runtime/prompts/jinja/syntax.hpp"

namespace evictlab::runtime::jinja {
namespace {

using Kind = Token::Kind;

/// Deeper nesting than this is no chat template's; it would exhaust the stack.
constexpr int kDeepest = 100;
/// So many operators may be applied one on the other, as in a.b.c or a + b + c.
constexpr int kLongestChain = 400;

/// Reads expressions (Jinja's grammar, from the loosest binding to the tightest) out of a stream of tokens.
class TokenReader {
 public:
  explicit TokenReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool take(Kind kind, std::string_view text) {
    const bool found = peek().is(kind, text);
    if (found) next();
    return found;
  }
  bool take_operator(std::string_view text) { return take(Kind::kOperator, text); }
  bool take_word(std::string_view text) { return take(Kind::kName, text); }
  void expect(Kind kind, std::string_view text) {
    if (!take(kind, text)) fail_at("expected {}", text.empty() ? "the end of the tag" : core::quote(text));
  }
  std::string expect_name() {
    if (peek().kind != Kind::kName) fail_at("expected a name");
    return next().text;
  }

  template <typename... Args>
  [[noreturn]] void fail_at(fmt::format_string<Args...> format, Args&&... args) const {
    const Token& token = peek();
    const bool worded = token.kind == Kind::kName || token.kind == Kind::kOperator || token.kind == Kind::kNumber;
    const std::string found = worded                        ? core::quote(token.text)
                              : token.kind == Kind::kEnd    ? "the end of the template"
                              : token.kind == Kind::kString ? "a text"
                                                            : "the end of the tag";
    throw JinjaError("line {}: {}, got {}", token.line, fmt::format(format, std::forward<Args>(args)...), found);
  }

  ExpressionPointer expression() {
    const Nesting nesting(*this);
    ExpressionPointer value = logical("or");
    while (take_word("if")) {
      ExpressionPointer choice = with_operands(Expression::Kind::kConditional, {}, std::move(value));
      choice->operands.push_back(logical("or"));
      choice->operands.push_back(take_word("else") ? expression() : nullptr);
      value = std::move(choice);
    }
    return value;
  }

  /// An expression without "if": what a loop runs over.
  ExpressionPointer iterable() { return logical("or"); }

 protected:
  /// Bounds recursion.
  class Nesting {
   public:
    explicit Nesting(TokenReader& reader) : reader_(reader) {
      if (++reader_.depth_ > kDeepest) reader_.fail_at("nests more than {} levels deep", kDeepest);
    }
    ~Nesting() { --reader_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    TokenReader& reader_;
  };

  ExpressionPointer make(Expression::Kind kind, std::string name = {}) const {
    return std::make_unique<Expression>(Expression{.kind = kind, .line = peek().line, .name = std::move(name)});
  }

 private:
  ExpressionPointer with_operands(Expression::Kind kind, std::string name, ExpressionPointer left,
                                  ExpressionPointer right = nullptr) const {
    ExpressionPointer node = make(kind, std::move(name));
    node->operators = left->operators + 1;
    if (node->operators > kLongestChain) fail_at("more than {} operators in a row", kLongestChain);
    node->operands.push_back(std::move(left));
    if (right) node->operands.push_back(std::move(right));
    return node;
  }

  ExpressionPointer logical(const std::string& word) {
    const auto tighter = [&] { return word == "or" ? logical("and") : negation(); };
    ExpressionPointer left = tighter();
    while (take_word(word)) left = with_operands(Expression::Kind::kLogical, word, std::move(left), tighter());
    return left;
  }

  ExpressionPointer negation() {
    const Nesting nesting(*this);
    if (!take_word("not")) return comparison();
    return with_operands(Expression::Kind::kUnary, "not", negation());
  }

  /// The comparison that comes next, or empty.
  std::string take_comparison() {
    for (const char* word : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (take_operator(word)) return word;
    }
    if (take_word("in")) return "in";
    if (peek().is(Kind::kName, "not") && peek(1).is(Kind::kName, "in")) {
      next();
      next();
      return "not in";
    }
    return {};
  }

  ExpressionPointer comparison() {
    ExpressionPointer left = binary(0);
    const std::string word = take_comparison();
    if (word.empty()) return left;
    ExpressionPointer compared = with_operands(Expression::Kind::kComparison, word, std::move(left), binary(0));
    if (!take_comparison().empty()) fail_at("chained comparisons are not supported");
    return compared;
  }

  ExpressionPointer binary(std::size_t level) {
    static const std::array<std::vector<const char*>, 3> kLevels = {{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}}};
    if (level == kLevels.size()) return unary(true);
    ExpressionPointer left = binary(level + 1);
    while (true) {
      const auto found = std::ranges::find_if(kLevels[level], [&](const char* word) { return take_operator(word); });
      if (found == kLevels[level].end()) return left;
      left = with_operands(Expression::Kind::kBinary, *found, std::move(left), binary(level + 1));
    }
  }

  ExpressionPointer unary(bool with_filters) {
    const Nesting nesting(*this);
    ExpressionPointer node;
    for (const char* sign : {"-", "+"}) {
      if (!node && take_operator(sign)) node = with_operands(Expression::Kind::kUnary, sign, unary(false));
    }
    if (!node) node = primary();
    node = postfix(std::move(node));
    return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
  }

  ExpressionPointer literal(Value value) const {
    ExpressionPointer node = make(Expression::Kind::kLiteral);
    node->value = std::move(value);
    return node;
  }

  ExpressionPointer number() {
    const int line = peek().line;
    const std::string text = next().text;
    if (text.find('.') != std::string::npos) {
      if (const auto real = core::parse_number(text)) return literal(*real);
    } else if (const auto whole = core::parse_integer(text)) {
      return literal(*whole);
    }
    throw JinjaError("line {}: {} is too large a number", line, core::quote(text));
  }

  ExpressionPointer primary() {
    switch (peek().kind) {
      case Kind::kName: {
        const std::string name = next().text;
        if (name == "true" || name == "True") return literal(true);
        if (name == "false" || name == "False") return literal(false);
        if (name == "none" || name == "None") return literal(Value::None{});
        return make(Expression::Kind::kName, name);
      }
      case Kind::kString: {
        std::string text = next().text;
        while (peek().kind == Kind::kString) text += next().text;
        return literal(std::move(text));
      }
      case Kind::kNumber:
        return number();
      default:
        break;
    }
    if (take_operator("(")) {
      ExpressionPointer inside = expression();
      if (peek().is(Kind::kOperator, ",")) fail_at("tuples are not supported; expected ')'");
      expect(Kind::kOperator, ")");
      return inside;
    }
    if (take_operator("[")) {
      ExpressionPointer list = make(Expression::Kind::kList);
      while (!take_operator("]")) {
        list->operands.push_back(expression());
        if (!peek().is(Kind::kOperator, "]")) expect(Kind::kOperator, ",");
      }
      return list;
    }
    if (take_operator("{")) {
      ExpressionPointer dict = make(Expression::Kind::kDict);
      while (!take_operator("}")) {
        dict->operands.push_back(expression());
        expect(Kind::kOperator, ":");
        dict->operands.push_back(expression());
        if (!peek().is(Kind::kOperator, "}")) expect(Kind::kOperator, ",");
      }
      return dict;
    }
    fail_at("expected a value");
  }

  ExpressionPointer postfix(ExpressionPointer node) {
    while (true) {
      if (take_operator(".")) {
        node = with_operands(Expression::Kind::kMember, expect_name(), std::move(node));
      } else if (take_operator("[")) {
        node = subscript(std::move(node));
      } else if (peek().is(Kind::kOperator, "(")) {
        node = with_operands(Expression::Kind::kCall, {}, std::move(node));
        arguments(*node);
      } else {
        return node;
      }
    }
  }

  ExpressionPointer subscript(ExpressionPointer node) {
    std::array<ExpressionPointer, 3> ends;
    std::size_t colons = 0;
    while (!take_operator("]")) {
      if (take_operator(":")) {
        if (++colons > 2) fail_at("expected ']'");
      } else {
        if (ends[colons]) fail_at("expected ']'");
        ends[colons] = expression();
      }
    }
    if (colons == 0 && !ends[0]) fail_at("an index is empty");
    const auto kind = colons == 0 ? Expression::Kind::kItem : Expression::Kind::kSlice;
    ExpressionPointer item = with_operands(kind, {}, std::move(node));
    for (std::size_t i = 0; i < (colons == 0 ? 1U : 3U); ++i) item->operands.push_back(std::move(ends[i]));
    return item;
  }

  void arguments(Expression& call) {
    expect(Kind::kOperator, "(");
    while (!take_operator(")")) {
      if (peek().kind == Kind::kName && peek(1).is(Kind::kOperator, "=")) {
        std::string name = next().text;
        next();
        call.named.emplace_back(std::move(name), expression());
      } else {
        if (!call.named.empty()) fail_at("arguments by place come before those by name; expected a name");
        call.operands.push_back(expression());
      }
      if (!peek().is(Kind::kOperator, ")")) expect(Kind::kOperator, ",");
    }
  }

  ExpressionPointer filters_and_tests(ExpressionPointer node) {
    while (true) {
      if (take_operator("|")) {
        node = with_operands(Expression::Kind::kFilter, expect_name(), std::move(node));
        if (peek().is(Kind::kOperator, "(")) arguments(*node);
      } else if (take_word("is")) {
        const bool negated = take_word("not");
        node = with_operands(Expression::Kind::kTest, expect_name(), std::move(node));
        if (peek().is(Kind::kOperator, "(")) {
          arguments(*node);
        } else if (begins_argument()) {
          node->operands.push_back(postfix(primary()));
        }
        if (negated) node = with_operands(Expression::Kind::kUnary, "not", std::move(node));
      } else {
        return node;
      }
    }
  }

  /// Whether what follows a test's name is its argument: "x is divisibleby 3".
  bool begins_argument() const {
    static constexpr std::array<std::string_view, 6> kWords = {"else", "or", "and", "is", "if", "in"};
    const Token& token = peek();
    if (token.kind == Kind::kName) return token.text != "not" && std::ranges::find(kWords, token.text) == kWords.end();
    return token.kind == Kind::kString || token.kind == Kind::kNumber || token.is(Kind::kOperator, "[");
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

class Parser : private TokenReader {
 public:
  using TokenReader::TokenReader;

  Body run() {
    Body all = body({});
    if (peek().kind != Kind::kEnd) fail_at("expected the end of the template");
    return all;
  }

 private:
  /// Statements up to a block that begins with one of `ends`, whose first word is next then.
  Body body(std::span<const std::string_view> ends) {
    const Nesting nesting(*this);
    Body statements;
    while (peek().kind != Kind::kEnd) {
      const int line = peek().line;
      if (peek().kind == Kind::kText) {
        statements.push_back({.kind = Statement::Kind::kText, .line = line, .text = next().text});
      } else if (take(Kind::kOutputBegin, {})) {
        statements.push_back({.kind = Statement::Kind::kOutput, .line = line, .expression = expression()});
        expect(Kind::kOutputEnd, {});
      } else {
        if (std::ranges::find(ends, std::string_view(peek(1).text)) != ends.end()) {
          next();
          return statements;
        }
        expect(Kind::kBlockBegin, {});
        statements.push_back(statement(line));
      }
    }
    if (!ends.empty()) fail_at("expected {}", core::quote(ends.back()));
    return statements;
  }

  /// The body of a statement that ends with the block `end`, which is read too.
  Body body_until(std::string_view end) {
    const std::array<std::string_view, 1> ends = {end};
    expect(Kind::kBlockEnd, {});
    Body statements = body(ends);
    next();
    expect(Kind::kBlockEnd, {});
    return statements;
  }

  Statement statement(int line) {
    const std::string word = expect_name();
    if (word == "if") return conditional(line);
    if (word == "for") return loop(line);
    if (word == "set") return assignment(line);
    if (word == "macro") return macro(line);
    if (word == "generation") {
      return {.kind = Statement::Kind::kGeneration, .line = line, .body = body_until("endgeneration")};
    }
    if (word == "break" || word == "continue") {
      if (loops_ == 0) throw JinjaError("line {}: {} outside of a loop", line, core::quote(word));
      expect(Kind::kBlockEnd, {});
      return {.kind = word == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue, .line = line};
    }
    throw JinjaError("line {}: the statement {} is not supported", line, core::quote(word));
  }

  Statement conditional(int line) {
    static constexpr std::array<std::string_view, 3> kEnds = {"elif", "else", "endif"};
    Statement result{.kind = Statement::Kind::kIf, .line = line};
    for (std::string word = "if"; word != "endif"; word = next().text) {
      if (!result.branches.empty() && !result.branches.back().condition) fail_at("expected 'endif'");
      ExpressionPointer condition = word == "else" ? nullptr : expression();
      expect(Kind::kBlockEnd, {});
      result.branches.push_back({std::move(condition), body(kEnds)});
    }
    expect(Kind::kBlockEnd, {});
    return result;
  }

  Statement loop(int line) {
    static constexpr std::array<std::string_view, 2> kEnds = {"else", "endfor"};
    Statement result{.kind = Statement::Kind::kFor, .line = line};
    const bool parenthesised = take_operator("(");
    do {
      result.targets.push_back(expect_name());
    } while (take_operator(","));
    if (parenthesised) expect(Kind::kOperator, ")");
    expect(Kind::kName, "in");
    result.expression = iterable();
    if (take_word("if")) result.condition = expression();
    if (peek().is(Kind::kName, "recursive")) fail_at("recursive loops are not supported");
    expect(Kind::kBlockEnd, {});
    ++loops_;
    result.body = body(kEnds);
    --loops_;
    if (next().text == "else") {
      result.otherwise = body_until("endfor");
    } else {
      expect(Kind::kBlockEnd, {});
    }
    return result;
  }

  Statement assignment(int line) {
    Statement result{.kind = Statement::Kind::kSet, .line = line};
    result.targets.push_back(expect_name());
    if (take_operator(".")) {
      result.attribute = expect_name();
    } else {
      while (take_operator(",")) result.targets.push_back(expect_name());
    }
    if (take_operator("=")) {
      result.expression = expression();
      expect(Kind::kBlockEnd, {});
      return result;
    }
    if (!result.attribute.empty() || result.targets.size() > 1) fail_at("expected '='");
    result.kind = Statement::Kind::kSetBlock;
    result.body = body_until("endset");
    return result;
  }

  Statement macro(int line) {
    Statement result{.kind = Statement::Kind::kMacro, .line = line};
    result.targets.push_back(expect_name());
    expect(Kind::kOperator, "(");
    while (!take_operator(")")) {
      std::string name = expect_name();
      result.parameters.emplace_back(std::move(name), take_operator("=") ? expression() : nullptr);
      if (!peek().is(Kind::kOperator, ")")) expect(Kind::kOperator, ",");
    }
    const int loops = std::exchange(loops_, 0);
    result.body = body_until("endmacro");
    loops_ = loops;
    return result;
  }

  int loops_ = 0;  // around what is read
};

}  // namespace

Body parse(std::string_view source) { return Parser(tokens_of(source)).run(); }

}  // namespace evictlab::runtime::jinja
