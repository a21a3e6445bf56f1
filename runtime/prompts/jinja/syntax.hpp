#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/prompts/jinja/value.hpp"

namespace evictlab::runtime::jinja {

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

/// An expression, as Jinja's grammar has it.
struct Expression {
  enum class Kind {
    kLiteral,      // value
    kName,         // name
    kList,         // operands
    kDict,         // operands: key, value, key, value, ...
    kMember,       // operands[0].name
    kItem,         // operands[0][operands[1]]
    kSlice,        // operands[0][operands[1]:operands[2]:operands[3]], null where absent
    kCall,         // operands[0](operands[1...], named)
    kFilter,       // operands[0] | name(operands[1...], named)
    kTest,         // operands[0] is name(operands[1...])
    kUnary,        // name: not, -, +
    kBinary,       // name: + - * / // % ~
    kComparison,   // name: == != < <= > >= in not-in; chained ones are joined by "and"
    kLogical,      // name: and, or
    kConditional,  // operands[0] if operands[1] else operands[2], null where absent
  };
  Kind kind;
  int line = 1;
  int operators = 0;  // applied one on the other: a.b.c, a + b + c
  std::string name = {};
  Value value = {};
  std::vector<ExpressionPointer> operands = {};
  std::vector<std::pair<std::string, ExpressionPointer>> named = {};
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind {
    kText,       // text
    kOutput,     // {{ expression }}
    kIf,         // branches
    kFor,        // for targets in expression if condition: body, else otherwise
    kSet,        // targets = expression, or targets[0].attribute = expression
    kSetBlock,   // targets[0] = what body writes
    kMacro,      // targets[0](parameters): body
    kBreak,      // out of the innermost loop
    kContinue,   // its next round
    kGeneration  // what body writes: transformers marks what an assistant says
  };
  struct Branch {
    ExpressionPointer condition;  // null: else
    Body body;
  };
  Kind kind;
  int line = 1;
  std::string text = {};
  std::vector<std::string> targets = {};
  std::string attribute = {};
  ExpressionPointer expression = {};
  ExpressionPointer condition = {};
  Body body = {};
  Body otherwise = {};
  std::vector<Branch> branches = {};
  std::vector<std::pair<std::string, ExpressionPointer>> parameters = {};  // with defaults, null where there is none
};

/// Parses a template of chat's subset of Jinja. Throws JinjaError, naming the line, for what is not well-formed and for
/// statements outside the subset (include, import, extends, block, call, filter, raw, with, recursive loops).
Body parse(std::string_view source);

}  // namespace evictlab::runtime::jinja
