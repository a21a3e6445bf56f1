#pragma once

#include <string>
#include <string_view>

namespace evictlab::plots {

/// A drawn SVG file as an element that can stand in an HTML page beside others: without XML prolog, and with every
/// id, and every reference to one, prefixed, since gnuplot names the same ids in every file. A width is repeated as the
/// CSS variable --drawn.
std::string inline_svg(std::string_view svg, std::string_view prefix);

}  // namespace evictlab::plots
