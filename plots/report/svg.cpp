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
  for (const std::string_view mark : {" id=\"", " id='", "href=\"#", "href='#", "url(#"}) {
    insert_after_each(text, mark, prefix);
  }
  return text;
}

}  // namespace evictlab::plots
