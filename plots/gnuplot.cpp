#include "plots/gnuplot.hpp"

#include <fmt/format.h>
#include <gnuplot-iostream.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <regex>
#include <sstream>
#include <stdexcept>

#include "core/file.hpp"
#include "core/text.hpp"

namespace evictlab::plots {
namespace {

namespace fs = std::filesystem;

// Where gnuplot writes before the figure is put in its place.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = (fs::temp_directory_path() / "evictlab-plot-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw PlotError("cannot make a directory in {}", fs::temp_directory_path().string());
    path_ = name;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

// A gnuplot that ends early must not take this program with it: writing to its pipe raises SIGPIPE.
class IgnoreBrokenPipe {
 public:
  IgnoreBrokenPipe() : previous_(std::signal(SIGPIPE, SIG_IGN)) {}
  ~IgnoreBrokenPipe() { std::signal(SIGPIPE, previous_); }
  IgnoreBrokenPipe(const IgnoreBrokenPipe&) = delete;
  IgnoreBrokenPipe& operator=(const IgnoreBrokenPipe&) = delete;

 private:
  void (*previous_)(int);
};

void require_gnuplot() {
  const char* path = std::getenv("PATH");
  for (const std::string& directory : core::split(path == nullptr ? "" : path, ':')) {
    if (!directory.empty() && access((fs::path(directory) / "gnuplot").c_str(), X_OK) == 0) return;
  }
  throw PlotError("gnuplot was not found on PATH; figures need it (Debian: apt install gnuplot-nox)");
}

std::string shell_quoted(const std::string& text) {
  return "'" + std::regex_replace(text, std::regex("'"), "'\\''") + "'";
}

std::string read_if_there(const fs::path& path) { return fs::exists(path) ? core::read_text(path) : std::string(); }

// gnuplot prefixes what it objects to with the place, "line 12: "; warnings of its libraries (fonts) come without.
std::string first_error(const std::string& messages) {
  std::istringstream lines(messages);
  static const std::regex place("line [0-9]+:.*");
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, place) && line.find("warning:") == std::string::npos) return match.str();
  }
  return {};
}

/// Runs a whole program; `what` it draws is for error messages. Throws what draw() throws.
void run(const std::string& program, const std::string& what, const ScratchDirectory& scratch) {
  require_gnuplot();
  const fs::path messages_path = scratch / "messages";
  const fs::path end_path = scratch / "end";
  {
    const IgnoreBrokenPipe ignore;
    // -d: not the user's own gnuplot settings. The exit status says nothing about the figures.
    Gnuplot gnuplot("gnuplot -d 2>" + shell_quoted(messages_path.string()) + " || true");
    gnuplot << program << fmt::format("set print {}\nprint 'end'\nunset print\n", gnuplot_string(end_path.string()));
    gnuplot.flush();
  }
  const std::string messages = read_if_there(messages_path);
  if (const std::string error = first_error(messages); !error.empty()) {
    throw std::runtime_error(fmt::format("gnuplot, {}: {}", what, error));
  }
  if (read_if_there(end_path).empty()) {
    throw std::runtime_error(fmt::format("gnuplot ended before {} was drawn: {}", what,
                                         messages.empty() ? "no message" : messages.substr(0, messages.find('\n'))));
  }
}

}  // namespace

std::string gnuplot_string(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result + "'";
}

namespace {

constexpr const char* kBegin = "set encoding utf8\n";

/// The figure drawn once, as `path`.
std::string drawn_on(const Figure& figure, std::string_view terminal, const std::string& size, std::string_view font,
                     const fs::path& path) {
  return fmt::format(
      "reset\nset terminal {} noenhanced size {} font '{}' background rgb 'white'\nset output {}\n{}unset output\n",
      terminal, size, font, gnuplot_string(path.string()), figure.script);
}

/// What gnuplot drew; it does not notice itself when a disk is full.
std::string whole_image(const ScratchDirectory& scratch, const std::string& file, const std::string& name) {
  std::string image = read_if_there(scratch / file);
  if (image.empty()) throw std::runtime_error(fmt::format("gnuplot left {} empty", name));
  const std::string_view end = name.ends_with(".png") ? "IEND" : name.ends_with(".pdf") ? "%%EOF" : "</svg>";
  constexpr std::size_t kTail = 64;
  if (image.find(end, image.size() - std::min(image.size(), kTail)) == std::string::npos) {
    throw PlotError("{}: gnuplot could not write all of it to {}: is there room?", name,
                    fs::temp_directory_path().string());
  }
  return image;
}

std::string drawn_as_svg(const Figure& figure, const fs::path& path) {
  return drawn_on(figure, "svg standalone", fmt::format("{},{}", figure.width, figure.height), "DejaVu Sans,18", path);
}

}  // namespace

std::string program(const Figure& figure, const fs::path& stem) {
  const auto path = [&stem](const char* extension) { return fs::path(stem.string() + extension); };
  constexpr double kPixelsPerInch = 96;
  const std::string inches =
      fmt::format("{:.3f}in,{:.3f}in", figure.width / kPixelsPerInch, figure.height / kPixelsPerInch);
  return kBegin +
         drawn_on(figure, "pngcairo", fmt::format("{},{}", figure.width, figure.height), "DejaVu Sans,13.5",
                  path(".png")) +
         drawn_as_svg(figure, path(".svg")) + drawn_on(figure, "pdfcairo", inches, "DejaVu Sans,13.5", path(".pdf"));
}

std::vector<std::string> files_of(const Figure& figure) {
  return {figure.name + ".png", figure.name + ".svg", figure.name + ".pdf"};
}

std::vector<std::string> draw(const Figure& figure) {
  const ScratchDirectory scratch;
  run(program(figure, scratch / "figure"), "figure " + figure.name, scratch);
  std::vector<std::string> images;
  for (const std::string& name : files_of(figure)) {
    images.push_back(whole_image(scratch, "figure" + fs::path(name).extension().string(), name));
  }
  return images;
}

std::string draw_svg(const Figure& figure) {
  const ScratchDirectory scratch;
  run(kBegin + drawn_as_svg(figure, scratch / "figure.svg"), "figure " + figure.name, scratch);
  return whole_image(scratch, "figure.svg", figure.name + ".svg");
}

std::string draw_text(const std::string& script, int columns, int lines) {
  const ScratchDirectory scratch;
  const fs::path path = scratch / "figure.txt";
  run(kBegin + fmt::format("reset\nset terminal dumb noenhanced size {},{}\nset output {}\n{}unset output\n", columns,
                           lines, gnuplot_string(path.string()), script),
      "a plot for the terminal", scratch);
  std::string text;
  std::istringstream drawn(read_if_there(path));
  for (std::string line; std::getline(drawn, line);) {
    line.erase(line.find_last_not_of(" \f\r") + 1);
    if (!text.empty() || !line.empty()) text += line + "\n";
  }
  if (text.empty()) throw std::runtime_error("gnuplot drew nothing for the terminal");
  return text;
}

}  // namespace evictlab::plots
