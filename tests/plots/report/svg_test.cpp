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

}  // namespace
}  // namespace evictlab::plots
