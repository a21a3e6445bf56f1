#include "plots/gnuplot.hpp"

#include <fmt/format.h>
#include <gnuplot-iostream.h>
#include <sys/resource.h>
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
    std::error_code ignored;
    const fs::path wanted = fs::temp_directory_path(ignored);  // empty where TMPDIR is no directory
    for (const fs::path& directory : {wanted, fs::path("/tmp")}) {
      std::string name = (directory / "evictlab-plot-XXXXXX").string();
      if (directory.empty() || mkdtemp(name.data()) == nullptr) continue;
      path_ = name;
      return;
    }
    throw PlotError("figures need a directory for temporary files: neither TMPDIR nor /tmp can be written to");
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
  if (const auto reason = why_no_figures()) throw PlotError("{}", *reason);
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

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

/// Bytes of the character that a text begins with; 0 when it does not begin with well-formed UTF-8.
std::size_t character_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(text[i])); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if (!is_continuation(text[i])) return 0;
  }
  // Overlong forms, surrogates, and what lies above U+10FFFF.
  const unsigned second = size > 2 ? byte(1) : 0x80;
  const bool outside = (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
                       (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
  return outside ? 0 : size;
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

std::optional<std::string> why_no_figures() {
  // A shell, gnuplot and its fonts, with the pipe to them.
  constexpr rlim_t kOpenFiles = 32;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < kOpenFiles) {
    return fmt::format("gnuplot needs {} open files (ulimit -n), {} are allowed", kOpenFiles, limit.rlim_cur);
  }
  const char* path = std::getenv("PATH");
  for (const std::string& directory : core::split(path == nullptr ? "" : path, ':')) {
    if (!directory.empty() && access((fs::path(directory) / "gnuplot").c_str(), X_OK) == 0) return std::nullopt;
  }
  return "gnuplot was not found on PATH; figures need it (Debian: apt install gnuplot-nox)";
}

std::string label_text(std::string_view text, std::size_t longest) {
  std::string shown;
  while (!text.empty() && shown.size() <= longest) {
    const std::size_t size = character_size(text);
    const auto first = static_cast<unsigned char>(text.front());
    if (size == 0) {
      shown += "\uFFFD";
    } else if (first < 0x20 || first == 0x7F) {
      shown += ' ';
    } else {
      shown += text.substr(0, size);
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  if (shown.size() <= longest) return shown;
  constexpr std::string_view kCut = "…";
  std::size_t end = longest - kCut.size();
  while (end > 0 && is_continuation(shown[end])) --end;
  return shown.substr(0, end).append(kCut);
}

// In double quotes: in single ones, gnuplot 5 ends a string that begins with a quote, or has two in a row, too early.
std::string gnuplot_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '`' || static_cast<unsigned char>(c) < 0x20) {
      // A backtick would run a command. Of an octal number that begins with 0, gnuplot reads four digits.
      result += fmt::format("\\{:04o}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string gnuplot_label(std::string_view text) { return gnuplot_string(label_text(text, kLongestLabel)); }

std::string gnuplot_tic(std::string_view text) {
  std::string label;
  for (const char c : label_text(text, kLongestName)) label += c == '%' ? "%%" : std::string(1, c);
  return gnuplot_string(label);
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

/// "<polygon fill = 'rgb( 50, 102, 141)' points = 'x,y x,y x,y x,y '/>" of an upright rectangle as a path of half the
/// length; nothing for other lines.
std::optional<std::string> short_rectangle(std::string_view line) {
  constexpr std::string_view kFill = "<polygon fill = 'rgb(";
  constexpr std::string_view kPoints = ")' points = '";
  constexpr std::string_view kEnd = " '/>";
  const std::size_t middle = line.find(kPoints);
  if (!line.starts_with(kFill) || !line.ends_with(kEnd) || middle == std::string_view::npos) return std::nullopt;
  std::string path = "<path fill='#";
  for (const std::string& part : core::split(line.substr(kFill.size(), middle - kFill.size()), ',')) {
    const auto value = core::parse_integer(core::trim(part));
    if (!value || *value < 0 || *value > 255) return std::nullopt;
    path += fmt::format("{:02x}", *value);
  }
  const std::size_t begin = middle + kPoints.size();
  std::vector<std::vector<std::string>> corners;
  for (const std::string& corner : core::split(line.substr(begin, line.size() - kEnd.size() - begin), ' ')) {
    corners.push_back(core::split(corner, ','));
    if (corners.back().size() != 2) return std::nullopt;
  }
  const auto same = [&](std::size_t a, std::size_t b, std::size_t axis) {
    return corners[a][axis] == corners[b][axis];
  };
  if (corners.size() != 4 || !same(0, 1, 1) || !same(1, 2, 0) || !same(2, 3, 1) || !same(3, 0, 0)) return std::nullopt;
  return path + fmt::format("' d='M{} {}H{}V{}H{}z'/>", corners[0][0], corners[0][1], corners[1][0], corners[2][1],
                            corners[0][0]);
}

/// Maps are thousands of cells, which are most of an SVG file and of a report.
std::string with_short_cells(std::string_view svg) {
  std::string text;
  for (std::size_t begin = 0; begin < svg.size();) {
    const std::size_t end = std::min(svg.find('\n', begin), svg.size() - 1) + 1;
    const std::string_view line = svg.substr(begin, end - begin);
    const auto cell = short_rectangle(core::trim(line));
    text += cell ? *cell + "\n" : std::string(line);
    begin = end;
  }
  return text;
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
  return name.ends_with(".svg") ? with_short_cells(image) : image;
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
