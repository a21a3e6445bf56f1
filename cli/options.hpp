#pragma once

#include <boost/program_options.hpp>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.hpp"

namespace evictlab::cli {

/// One subcommand's options. Declare them, parse(), then ask:
///
///     Options options("verify", "TRACE", "Checks a trace: hashes, shapes, attention rows.");
///     options.positional("trace", "the trace: a file or a directory of parts", Count::kOne);
///     options.value("window", "N", "64", "observation window: prompt queries recorded");
///     options.flag("force", "replace what is there");
///     if (!options.parse(arguments)) return 0;  // --help was asked for and printed
///     const auto window = options.integer("window", 1, 4096);
///
/// Every error is a core::InputError that names the option.
class Options {
 public:
  enum class Count { kOne, kMany };

  /// `synopsis` is what follows the command's name in the usage line, `description` a paragraph.
  Options(std::string command, std::string synopsis, std::string description);

  void flag(const std::string& name, const std::string& help);
  /// An option with a value; `default_value` empty = none. `value_name` names the value in the help. `implied`, where
  /// it is not empty, is the value of the option on its own.
  void value(const std::string& name, const std::string& value_name, const std::string& default_value,
             const std::string& help, const std::string& implied = "");
  /// An option that may be given several times.
  void values(const std::string& name, const std::string& value_name, const std::string& help);
  /// What is given without a dash. At most one such declaration.
  void positional(const std::string& name, const std::string& help, Count count);

  /// False when --help was given: the help has been printed to stdout.
  bool parse(const Arguments& arguments);

  bool has(const std::string& name) const;    // given, or has a default
  bool given(const std::string& name) const;  // on the command line
  /// Throws when it was given, naming the option: "record: --limit <why>".
  void refuse(const std::string& name, const std::string& why) const;
  /// Throws when it was not given and has no default.
  std::string text(const std::string& name) const;
  std::optional<std::string> optional_text(const std::string& name) const;
  std::vector<std::string> list(const std::string& name) const;
  std::filesystem::path path(const std::string& name) const { return text(name); }
  /// Empty when it was not given; throws for an empty value, which no option takes.
  std::string text_or_empty(const std::string& name) const { return has(name) ? text(name) : std::string(); }
  std::optional<std::filesystem::path> optional_path(const std::string& name) const;
  std::vector<std::filesystem::path> paths(const std::string& name) const;
  std::int64_t integer(const std::string& name, std::int64_t minimum = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t maximum = std::numeric_limits<std::int64_t>::max()) const;
  double number(const std::string& name, double minimum, double maximum) const;
  /// One of `choices`.
  std::string choice(const std::string& name, const std::vector<std::string>& choices) const;

 private:
  std::string usage() const;

  std::string command_;
  std::string synopsis_;
  std::string description_;
  std::string positional_name_;
  std::string positional_help_;
  Count positional_count_ = Count::kOne;
  boost::program_options::options_description visible_;
  std::vector<std::string> names_;
  boost::program_options::variables_map values_;
};

}  // namespace evictlab::cli
