#pragma once

#include <string>
#include <string_view>

#include "runtime/prompts/jinja/value.hpp"

namespace evictlab::runtime::jinja {

// What takes longer the larger the values are spends work.

/// value | name(arguments). Throws JinjaError for a filter that chat templates do not use.
Value apply_filter(const std::string& name, const Value& value, const CallArguments& arguments, Work& work);
/// value is name(arguments).
bool apply_test(const std::string& name, const Value& value, const CallArguments& arguments, Work& work);
/// value.name(arguments), of a text or a mapping.
Value call_method(const std::string& name, const Value& value, const CallArguments& arguments, Work& work);
/// The functions every template may call: range, namespace, dict, raise_exception.
const Dict& global_functions();

/// a == b, a < b, a in b, ... by its operator.
bool compare(const std::string& word, const Value& a, const Value& b, Work& work);
/// a + b, a ~ b, ... by its operator.
Value combine(const std::string& word, const Value& a, const Value& b);
using Elements = std::shared_ptr<const List>;
/// The elements of a list, names of a mapping or characters of a text, in order; never null.
Elements elements_of(const Value& value, Work& work);

}  // namespace evictlab::runtime::jinja
