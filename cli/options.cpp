#include "cli/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <sstream>

#include "core/error.hpp"
#include "core/text.hpp"

namespace po = boost::program_options;

namespace evictlab::cli {

Options::Options(std::string command, std::string synopsis, std::string description)
    : command_(std::move(command)),
      synopsis_(std::move(synopsis)),
      description_(std::move(description)),
      visible_("options", 110, 55) {
  visible_.add_options()("help,h", po::bool_switch(), "show this help");
  names_.emplace_back("--help");
}

void Options::flag(const std::string& name, const std::string& help) {
  visible_.add_options()(name.c_str(), po::bool_switch(), help.c_str());
  names_.push_back("--" + name);
}

void Options::value(const std::string& name, const std::string& value_name, const std::string& default_value,
                    const std::string& help, const std::string& implied) {
  auto* semantic = po::value<std::string>()->value_name(value_name);
  if (!default_value.empty()) semantic->default_value(default_value);
  if (!implied.empty()) semantic->implicit_value(implied);
  visible_.add_options()(name.c_str(), semantic, help.c_str());
  names_.push_back("--" + name);
}

void Options::values(const std::string& name, const std::string& value_name, const std::string& help) {
  visible_.add_options()(name.c_str(), po::value<std::vector<std::string>>()->value_name(value_name), help.c_str());
  names_.push_back("--" + name);
}

void Options::positional(const std::string& name, const std::string& help, Count count) {
  positional_name_ = name;
  positional_help_ = help;
  positional_count_ = count;
}

std::string Options::usage() const {
  std::ostringstream out;
  out << "usage: evictlab " << command_ << ' ' << synopsis_ << "\n\n" << description_ << "\n\n";
  if (!positional_name_.empty()) out << fmt::format("  {:<34}{}\n\n", positional_name_, positional_help_);
  out << visible_;
  return out.str();
}

bool Options::parse(const Arguments& arguments) {
  po::options_description all;
  all.add(visible_);
  po::positional_options_description positions;
  if (!positional_name_.empty()) {
    all.add_options()(positional_name_.c_str(), po::value<std::vector<std::string>>());
    positions.add(positional_name_.c_str(), -1);
  }
  // Without "allow_guessing": an abbreviation that works today would change its meaning with a new option.
  const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
  try {
    po::store(po::command_line_parser(arguments).options(all).positional(positions).style(style).run(), values_);
    po::notify(values_);
  } catch (const po::unknown_option& error) {
    throw core::InputError("{}: unknown option '{}'{}", command_, error.get_option_name(),
                           core::suggestion(error.get_option_name(), names_));
  } catch (const po::too_many_positional_options_error&) {
    throw core::InputError("{}: takes options only; see evictlab {} --help", command_, command_);
  } catch (const po::error& error) {
    throw core::InputError("{}: {}; see evictlab {} --help", command_, error.what(), command_);
  }
  if (values_["help"].as<bool>()) {
    std::cout << usage();
    return false;
  }
  if (!positional_name_.empty() && positional_count_ == Count::kOne && values_.count(positional_name_) != 0 &&
      list(positional_name_).size() > 1) {
    throw core::InputError("{}: takes one {}, got {}: {}", command_, positional_name_, list(positional_name_).size(),
                           fmt::join(list(positional_name_), " "));
  }
  return true;
}

bool Options::has(const std::string& name) const {
  if (values_.count(name) == 0) return false;
  const auto& value = values_[name].value();
  return value.type() == typeid(bool) ? boost::any_cast<bool>(value) : true;
}

bool Options::given(const std::string& name) const { return has(name) && !values_[name].defaulted(); }

void Options::refuse(const std::string& name, const std::string& why) const {
  if (given(name)) throw core::InputError("{}: --{} {}", command_, name, why);
}

std::optional<std::string> Options::optional_text(const std::string& name) const {
  if (values_.count(name) == 0) return std::nullopt;
  const auto& value = values_[name].value();
  if (value.type() == typeid(std::vector<std::string>)) return boost::any_cast<std::vector<std::string>>(value).at(0);
  return boost::any_cast<std::string>(value);
}

std::string Options::text(const std::string& name) const {
  const auto input = optional_text(name);
  if (!input || input->empty()) {
    throw core::InputError("{}: {} is missing; see evictlab {} --help", command_,
                           name == positional_name_ ? name : "--" + name, command_);
  }
  return *input;
}

std::vector<std::string> Options::list(const std::string& name) const {
  if (values_.count(name) == 0) return {};
  return values_[name].as<std::vector<std::string>>();
}

std::optional<std::filesystem::path> Options::optional_path(const std::string& name) const {
  if (!has(name)) return std::nullopt;
  return path(name);
}

std::vector<std::filesystem::path> Options::paths(const std::string& name) const {
  const std::vector<std::string> texts = list(name);
  return std::vector<std::filesystem::path>(texts.begin(), texts.end());
}

std::int64_t Options::integer(const std::string& name, std::int64_t minimum, std::int64_t maximum) const {
  const std::string input = text(name);
  const auto parsed = core::parse_integer(input);
  if (!parsed || *parsed < minimum || *parsed > maximum) {
    const std::string range = maximum == std::numeric_limits<std::int64_t>::max()
                                  ? fmt::format("{} or more", minimum)
                                  : fmt::format("{} to {}", minimum, maximum);
    throw core::InputError("{}: --{} takes a whole number, {}, got '{}'", command_, name, range, input);
  }
  return *parsed;
}

double Options::number(const std::string& name, double minimum, double maximum) const {
  const std::string input = text(name);
  const auto parsed = core::parse_number(input);
  if (!parsed || *parsed < minimum || *parsed > maximum) {
    throw core::InputError("{}: --{} takes a number, {} to {}, got '{}'", command_, name, minimum, maximum, input);
  }
  return *parsed;
}

std::string Options::choice(const std::string& name, const std::vector<std::string>& choices) const {
  const std::string input = text(name);
  for (const std::string& choice : choices) {
    if (input == choice) return input;
  }
  throw core::InputError("{}: --{} takes one of {}, got '{}'", command_, name, fmt::join(choices, ", "), input);
}

}  // namespace evictlab::cli
