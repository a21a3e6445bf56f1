#include "runtime/prompts/jinja/template.hpp"

#include <algorithm>
#include <map>

#include "core/message.hpp"
#include "runtime/prompts/jinja/builtins.hpp"

namespace evictlab::runtime::jinja {
namespace {

constexpr std::size_t kLongestOutput = std::size_t{64} << 20;
constexpr std::size_t kRound = 4;  // work of a loop's round besides its body's
constexpr int kDeepestCalls = 50;
/// Statements and expressions inside each other, macros' too; deeper ones would exhaust the stack.
constexpr int kDeepestLevels = 600;

/// What a statement tells the loop around it.
enum class Flow { kOn, kBreak, kContinue };

class Renderer {
 public:
  explicit Renderer(const Dict& variables) {
    scopes_.emplace_back();
    for (const auto& [name, value] : global_functions()) scopes_.front().insert_or_assign(name, value);
    for (const auto& [name, value] : variables) scopes_.front().insert_or_assign(name, value);
  }

  std::string render(const Body& body) {
    std::string out;
    run(body, out);
    return out;
  }

 private:
  using Scope = std::map<std::string, Value, std::less<>>;

  /// Gives a message its line; the innermost wins.
  template <typename Action>
  auto at_line(int line, const Action& action) {
    const Level level(*this);
    try {
      work_.spend(1);
      return action();
    } catch (const JinjaError& error) {
      if (std::string_view(error.what()).starts_with("line ")) throw;
      throw JinjaError("line {}: {}", line, error.what());
    }
  }

  /// Bounds recursion.
  class Level {
   public:
    explicit Level(Renderer& renderer) : renderer_(renderer) {
      if (renderer_.depth_ >= kDeepestLevels) throw JinjaError("nests more than {} levels deep", kDeepestLevels);
      ++renderer_.depth_;
    }
    ~Level() { --renderer_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Renderer& renderer_;
  };

  Flow run(const Body& body, std::string& out) {
    for (const Statement& statement : body) {
      const Flow flow = at_line(statement.line, [&] { return run(statement, out); });
      if (out.size() > kLongestOutput) throw JinjaError("line {}: writes more than 64 MiB", statement.line);
      if (flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }

  Flow run(const Statement& statement, std::string& out) {
    switch (statement.kind) {
      case Statement::Kind::kText:
        out += statement.text;
        return Flow::kOn;
      case Statement::Kind::kOutput:
        out += value_of(*statement.expression).text();
        return Flow::kOn;
      case Statement::Kind::kIf:
        for (const Statement::Branch& branch : statement.branches) {
          if (!branch.condition || value_of(*branch.condition).truth()) return run(branch.body, out);
        }
        return Flow::kOn;
      case Statement::Kind::kFor:
        run_loop(statement, out);
        return Flow::kOn;
      case Statement::Kind::kSet:
        assign(statement);
        return Flow::kOn;
      case Statement::Kind::kSetBlock: {
        std::string written = text_of_body(statement.body);
        scopes_.back().insert_or_assign(statement.targets.front(), std::move(written));
        return Flow::kOn;
      }
      case Statement::Kind::kMacro:
        scopes_.back().insert_or_assign(statement.targets.front(), macro(statement));
        return Flow::kOn;
      case Statement::Kind::kGeneration:
        out += text_of_body(statement.body);
        return Flow::kOn;
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kOn;
  }

  /// What a body writes; what it sets stays inside.
  std::string text_of_body(const Body& body) {
    std::string written;
    scopes_.emplace_back();
    run(body, written);
    scopes_.pop_back();
    return written;
  }

  void set_targets(const std::vector<std::string>& targets, const Value& value) {
    if (targets.size() == 1) {
      scopes_.back().insert_or_assign(targets.front(), value);
      return;
    }
    const Elements parts = elements_of(value, work_);
    if (parts->size() != targets.size()) {
      throw JinjaError("gives {} values to {} names", parts->size(), targets.size());
    }
    for (std::size_t i = 0; i < targets.size(); ++i) scopes_.back().insert_or_assign(targets[i], (*parts)[i]);
  }

  void assign(const Statement& statement) {
    const Value value = value_of(*statement.expression);
    if (statement.attribute.empty()) {
      set_targets(statement.targets, value);
      return;
    }
    const Value target = look_up(statement.targets.front());
    if (target.name_space() == nullptr) throw JinjaError("sets an attribute of {}, not of a namespace", target.kind());
    target.set_member(statement.attribute, value);
  }

  void run_loop(const Statement& statement, std::string& out) {
    Elements items = elements_of(value_of(*statement.expression), work_);
    if (statement.condition) {
      List wanted;
      for (const Value& item : *items) {
        work_.spend(kRound);
        scopes_.emplace_back();
        set_targets(statement.targets, item);
        if (value_of(*statement.condition).truth()) wanted.push_back(item);
        scopes_.pop_back();
      }
      items = std::make_shared<const List>(std::move(wanted));
    }
    bool completed = false;  // as in Jinja2, where a round that ends in break or continue does not count
    const auto count = static_cast<std::int64_t>(items->size());
    for (std::int64_t i = 0; i < count; ++i) {
      work_.spend(kRound);
      const auto neighbour = [&](std::int64_t place) {
        return place < 0 || place >= count ? Value::undefined("") : (*items)[static_cast<std::size_t>(place)];
      };
      scopes_.emplace_back();
      set_targets(statement.targets, neighbour(i));
      scopes_.back().insert_or_assign("loop", Dict{{"index", i + 1},
                                                   {"index0", i},
                                                   {"revindex", count - i},
                                                   {"revindex0", count - i - 1},
                                                   {"first", i == 0},
                                                   {"last", i + 1 == count},
                                                   {"length", count},
                                                   {"previtem", neighbour(i - 1)},
                                                   {"nextitem", neighbour(i + 1)}});
      const Flow flow = run(statement.body, out);
      scopes_.pop_back();
      completed |= flow == Flow::kOn;
      if (flow == Flow::kBreak) break;
    }
    if (!completed) run(statement.otherwise, out);
  }

  /// A macro sees the template's own variables and its arguments.
  Value macro(const Statement& statement) {
    return Function([this, &statement](const CallArguments& arguments) -> Value {
      if (++calls_ > kDeepestCalls) throw JinjaError("calls nest more than {} deep", kDeepestCalls);
      Scope inside;
      if (arguments.positional.size() > statement.parameters.size()) {
        throw JinjaError("'{}' takes {} arguments", statement.targets.front(), statement.parameters.size());
      }
      for (std::size_t i = 0; i < statement.parameters.size(); ++i) {
        const auto& [name, fallback] = statement.parameters[i];
        const Value* argument = arguments.find(i, name);
        inside.insert_or_assign(name, argument != nullptr ? *argument
                                      : fallback          ? value_of(*fallback)
                                                          : Value::undefined(name));
      }
      std::vector<Scope> outside(std::make_move_iterator(scopes_.begin() + 1), std::make_move_iterator(scopes_.end()));
      scopes_.resize(1);
      scopes_.push_back(std::move(inside));
      std::string written;
      run(statement.body, written);
      scopes_.resize(1);
      std::move(outside.begin(), outside.end(), std::back_inserter(scopes_));
      --calls_;
      return written;
    });
  }

  Value look_up(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    }
    return Value::undefined(name);
  }

  Value value_of(const Expression& expression) {
    return at_line(expression.line, [&] {
      Value value = evaluate(expression);
      work_.spend(value.reading());
      return value;
    });
  }
  Value operand(const Expression& expression, std::size_t place) { return value_of(*expression.operands[place]); }
  Value operand_or_none(const Expression& expression, std::size_t place) {
    return expression.operands[place] ? operand(expression, place) : Value(Value::None{});
  }

  CallArguments arguments_of(const Expression& expression) {
    CallArguments arguments;
    for (std::size_t i = 1; i < expression.operands.size(); ++i) arguments.positional.push_back(operand(expression, i));
    for (const auto& [name, value] : expression.named) arguments.named.emplace_back(name, value_of(*value));
    return arguments;
  }

  Value evaluate(const Expression& expression) {
    switch (expression.kind) {
      case Expression::Kind::kLiteral:
        return expression.value;
      case Expression::Kind::kName:
        return look_up(expression.name);
      case Expression::Kind::kList: {
        List items;
        for (std::size_t i = 0; i < expression.operands.size(); ++i) items.push_back(operand(expression, i));
        return items;
      }
      case Expression::Kind::kDict: {
        Dict members;
        for (std::size_t i = 0; i < expression.operands.size(); i += 2) {
          const std::string name = operand(expression, i).text();
          work_.spend(members.size() / 16);
          const auto known = std::ranges::find(members, name, &Dict::value_type::first);
          Value& member = known == members.end() ? members.emplace_back(name, Value()).second : known->second;
          member = operand(expression, i + 1);
        }
        return members;
      }
      case Expression::Kind::kMember:
        return operand(expression, 0).member(expression.name);
      case Expression::Kind::kItem:
        return item(operand(expression, 0), operand(expression, 1));
      case Expression::Kind::kSlice:
        return slice(operand(expression, 0), operand_or_none(expression, 1), operand_or_none(expression, 2),
                     operand_or_none(expression, 3));
      case Expression::Kind::kCall:
        return call(expression);
      case Expression::Kind::kFilter: {
        const Value value = operand(expression, 0);
        return apply_filter(expression.name, value, arguments_of(expression), work_);
      }
      case Expression::Kind::kTest: {
        const Value value = operand(expression, 0);
        return apply_test(expression.name, value, arguments_of(expression), work_);
      }
      case Expression::Kind::kUnary:
        return unary(expression.name, operand(expression, 0));
      case Expression::Kind::kBinary: {
        const Value left = operand(expression, 0);
        return combine(expression.name, left, operand(expression, 1));
      }
      case Expression::Kind::kComparison: {
        const Value left = operand(expression, 0);
        return compare(expression.name, left, operand(expression, 1), work_);
      }
      case Expression::Kind::kLogical: {
        Value left = operand(expression, 0);
        return left.truth() == (expression.name == "or") ? left : operand(expression, 1);
      }
      case Expression::Kind::kConditional:
        if (operand(expression, 1).truth()) return operand(expression, 0);
        return expression.operands[2] ? operand(expression, 2) : Value::undefined("");
    }
    return {};
  }

  static Value unary(const std::string& sign, const Value& value) {
    if (sign == "not") return !value.truth();
    if (value.real() != nullptr) return sign == "-" ? -*value.real() : *value.real();
    return combine(sign, std::int64_t{0}, value);
  }

  Value item(const Value& value, const Value& place) {
    std::int64_t index = 0;
    if (place.string() != nullptr) return value.member(*place.string());
    if (!place.as_integer(index)) throw JinjaError("asks for the element {} of {}", place.kind(), value.kind());
    if (value.is_undefined()) throw JinjaError("asks {} for its element {}", value.kind(), index);
    const Elements items = elements_of(value, work_);
    const auto count = static_cast<std::int64_t>(items->size());
    if (index < 0) index += count;
    if (index < 0 || index >= count) return Value::undefined(fmt::format("element {}", index));
    return (*items)[static_cast<std::size_t>(index)];
  }

  Value call(const Expression& expression) {
    const Expression& callee = *expression.operands.front();
    if (callee.kind == Expression::Kind::kMember) {
      const Value object = operand(callee, 0);
      if (object.is_undefined()) throw JinjaError("calls '{}' of {}", callee.name, object.kind());
      const Value member =
          object.dict() != nullptr || object.name_space() != nullptr ? object.member(callee.name) : Value();
      if (member.function() == nullptr) return call_method(callee.name, object, arguments_of(expression), work_);
      return (*member.function())(arguments_of(expression));
    }
    const Value function = value_of(callee);
    if (function.function() == nullptr) throw JinjaError("calls {}", function.kind());
    return (*function.function())(arguments_of(expression));
  }

  std::vector<Scope> scopes_;  // the template's own first
  Work work_;
  int calls_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string Template::render(const Dict& variables) const { return Renderer(variables).render(body_); }

}  // namespace evictlab::runtime::jinja
