#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace evictlab::plots {

/// A figure cannot be drawn: gnuplot is missing, or the tables hold nothing to draw.
class PlotError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// Why no figure can be drawn on this machine: gnuplot is not there, or may not open files; nothing where they can.
std::optional<std::string> why_no_figures();

/// One figure, not yet drawn: gnuplot commands with their data in line, without terminal and output.
struct Figure {
  std::string name;  // of the files: "<name>.png", "<name>.svg", "<name>.pdf"
  int width = 0;     // pixels
  int height = 0;
  std::string script;
  std::string section = {};  // of the report, as figures.def says; empty before all_figures() sets it
};

/// What is drawn of a text from a table: control characters as spaces, bytes that are not UTF-8 as U+FFFD, at most
/// `longest` (4 or more) bytes with an ellipsis for the rest: Cairo gives up on labels of thousands of letters.
std::string label_text(std::string_view text, std::size_t longest);

constexpr std::size_t kLongestLabel = 200;
constexpr std::size_t kLongestName = 60;  // of a policy, task or span, of which figures have many

/// A text without NUL as a gnuplot string that stands for exactly it: names of files.
std::string gnuplot_string(std::string_view text);

/// The label_text() of a text as a gnuplot string.
std::string gnuplot_label(std::string_view text);

/// The same for a tic's name, in which gnuplot reads % as a number's format.
std::string gnuplot_tic(std::string_view text);

/// The whole program for one figure: draws it as `stem`.png, .svg and .pdf.
std::string program(const Figure& figure, const std::filesystem::path& stem);

/// The names of the files that hold a figure: <name>.png, .svg and .pdf.
std::vector<std::string> files_of(const Figure& figure);

/// Draws a figure: the contents of files_of(). Throws PlotError when gnuplot cannot be run, std::runtime_error with
/// gnuplot's own words when it objects to the script (which it does not stop at by itself) or leaves a file empty.
std::vector<std::string> draw(const Figure& figure);

/// Draws it as SVG alone, and returns that. Throws like draw().
std::string draw_svg(const Figure& figure);

/// Draws with letters, for a text terminal: `columns` x `lines` characters at most. Throws like draw().
std::string draw_text(const std::string& script, int columns, int lines);

}  // namespace evictlab::plots
