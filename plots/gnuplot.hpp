#pragma once

#include <filesystem>
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

/// One figure, not yet drawn: gnuplot commands with their data in line, without terminal and output.
struct Figure {
  std::string name;  // of the files: "<name>.png", "<name>.svg", "<name>.pdf"
  int width = 0;     // pixels
  int height = 0;
  std::string script;
  std::string section = {};  // of the report, as figures.def says; empty before all_figures() sets it
};

/// A text as a gnuplot string that stands for itself.
std::string gnuplot_string(std::string_view text);

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
