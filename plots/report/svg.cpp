#include "plots/report/svg.hpp"

namespace evictlab::plots {
namespace {

void insert_after_each(std::string& text, std::string_view mark, std::string_view inserted) {
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + mark.size())) {
    text.insert(at + mark.size(), inserted);
  }
}

}  // namespace

std::string inline_svg(std::string_view svg, std::string_view prefix) {
  const std::size_t start = svg.find("<svg");
  std::string text(start == std::string_view::npos ? svg : svg.substr(start));
  // The stylesheet cannot read the width that a figure was drawn with.
  constexpr std::string_view kWidth = "width=\"";
  const std::size_t width = text.find(kWidth);
  const std::size_t end = width == std::string::npos ? width : text.find('"', width + kWidth.size());
  if (end != std::string::npos && end < text.find('>')) {
    const std::string pixels = text.substr(width + kWidth.size(), end - width - kWidth.size());
    text.insert(end + 1, " style=\"--drawn:" + pixels + "px\"");
  }
  for (const std::string_view mark : {" id=\"", " id='", "href=\"#", "href='#", "url(#"}) {
    insert_after_each(text, mark, prefix);
  }
  return text;
}

}  // namespace evictlab::plots
