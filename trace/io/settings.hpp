#pragma once

#include <map>
#include <string>

namespace evictlab::trace {

/// What decides the content of a recording besides model and prompts, by name: {"dtype": "float16", "window": "64"}.
/// None: whoever recorded did not say.
using Settings = std::map<std::string, std::string>;

/// One JSON object of texts, names in order and without spaces: equal settings have equal texts.
std::string settings_text(const Settings& settings);
/// The settings of such a text. Throws TraceError, naming `where`, when it is none.
Settings parse_settings(const std::string& text, const std::string& where);

/// The first difference, such as "dtype float16 there, float32 here"; empty when there is none. What only one of the
/// two says is not compared: the other may have been recorded before there was such a setting.
std::string settings_difference(const Settings& there, const Settings& here);
/// What both say.
Settings common_settings(const Settings& a, const Settings& b);

}  // namespace evictlab::trace
