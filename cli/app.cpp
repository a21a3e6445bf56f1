#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <new>
#include <string_view>

#include "cli/commands.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/memory.hpp"
#include "core/message.hpp"
#include "core/text.hpp"
#include "core/version.hpp"
#include "lab/ranks.hpp"

namespace evictlab::cli {
namespace {

constexpr Command kCommands[] = {
#define EVICTLAB_LIST_COMMAND(name, summary) {#name, summary, run_##name},
    EVICTLAB_COMMANDS(EVICTLAB_LIST_COMMAND)
#undef EVICTLAB_LIST_COMMAND
};

/// The commands whose processes share the work under mpirun.
constexpr std::array<std::string_view, 2> kOnRanks = {"sweep", "validate"};

std::string& stored_command_line() {
  static std::string line;
  return line;
}

std::string shell_quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string usage() {
  std::string text =
      "Evictlab: record a model's attention once, replay every KV-cache eviction policy from it.\n\n"
      "usage: evictlab COMMAND [OPTION ...]\n\n";
  for (const Command& command : kCommands) text += fmt::format("  {:<10}{}\n", command.name, command.summary);
  return text +
         "\nevictlab COMMAND --help explains one; evictlab --version tells the version.\n"
         "Results go to stdout and files, talk to stderr. Exit codes: 0 done, 1 a fault of the program,\n"
         "2 bad input, 130 interrupted.\n";
}

int dispatch(const Arguments& words) {
  if (words.empty()) {
    std::cerr << usage();
    return 2;
  }
  const std::string& first = words.front();
  if (first == "--help" || first == "-h" || first == "help") {
    std::cout << usage();
    return 0;
  }
  if (first == "--version") {
    std::cout << "evictlab " << core::version() << '\n';
    return 0;
  }
  for (const Command& command : kCommands) {
    if (first != command.name) continue;
    if (std::ranges::find(kOnRanks, first) == kOnRanks.end()) lab::require_one_process(first);
    return command.run(Arguments(words.begin() + 1, words.end()));
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  throw core::InputError("unknown command '{}'{}", first, core::suggestion(first, names));
}

/// Opens the standard streams that are closed: the next file would become one of them, and get what is printed. They
/// are opened so that printing fails.
void open_standard_streams() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) == -1 && errno == EBADF) {
      [[maybe_unused]] const int opened = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
  }
}

/// In one write, so that what other processes say does not come between.
void complain(const std::string& what) { std::cerr << fmt::format("evictlab: {}\n", what); }

}  // namespace

const std::string& command_line() { return stored_command_line(); }

int run(int argc, char** argv) {
  open_standard_streams();
  core::install_interrupt_handler();
  core::keep_freed_memory();
  const Arguments words(argv + 1, argv + argc);
  std::string& line = stored_command_line();
  line = "evictlab";
  for (const std::string& word : words) line += ' ' + shell_quoted(word);
  try {
    errno = 0;
    const int code = dispatch(words);
    std::cout.flush();
    // A reader that has seen enough (| head) is no fault of anyone's.
    if (!std::cout && errno != EPIPE) throw core::InputError("standard output could not be written");
    return code;
  } catch (const core::InputError& error) {
    complain(core::one_line(error.what()));
    return 2;
  } catch (const std::filesystem::filesystem_error& error) {
    complain(fmt::format("{}: {}", core::one_line(error.path1().string()), error.code().message()));
    return 2;
  } catch (const core::Interrupted& stopped) {
    complain(core::one_line(stopped.what()));
    return 130;
  } catch (const std::bad_alloc&) {
    complain("out of memory");
    return 1;
  } catch (const std::exception& error) {
    complain(fmt::format("internal error: {}", error.what()));
    return 1;
  }
}

}  // namespace evictlab::cli
