#include "plots/report/svg.hpp"

#include <gtest/gtest.h>

namespace evictlab::plots {
namespace {

TEST(InlineSvg, DropsThePrologAndPrefixesIdsAndWhatRefersToThem) {
  EXPECT_EQ(
      inline_svg("<?xml version=\"1.0\"?>\n<svg><g id=\"p\"/><use xlink:href='#p'/><g clip-path=\"url(#c)\"/></svg>",
                 "loss-"),
      "<svg><g id=\"loss-p\"/><use xlink:href='#loss-p'/><g clip-path=\"url(#loss-c)\"/></svg>");
}

TEST(InlineSvg, TellsTheStylesheetTheWidthItWasDrawnWith) {
  EXPECT_EQ(inline_svg("<svg\n width=\"1455\" height=\"598\"><rect width=\"9\"/></svg>", ""),
            "<svg\n width=\"1455\" style=\"--drawn:1455px\" height=\"598\"><rect width=\"9\"/></svg>");
  EXPECT_EQ(inline_svg("<svg><rect width=\"9\"/></svg>", ""), "<svg><rect width=\"9\"/></svg>");
}

}  // namespace
}  // namespace evictlab::plots
