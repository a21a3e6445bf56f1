#include "plots/report/document.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::plots {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ReportPage, EscapesWhatComesFromFiles) {
  const std::string page = report_page({.title = "a <b> & \"c\"",
                                        .facts = {{"model", "<img src=x onerror=alert(1)>"}},
                                        .commands = {"evictlab record --text '<script>'"}});
  EXPECT_THAT(page, HasSubstr("<title>a &lt;b&gt; &amp; &quot;c&quot;</title>"));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
}

TEST(ReportPage, TellsEachCommandOnce) {
  const std::string page = report_page({.commands = {"evictlab demo", "evictlab validate", "evictlab demo"}});
  EXPECT_THAT(page, HasSubstr("<pre>evictlab demo</pre>\n<pre>evictlab validate</pre>\n</section>"));
}

TEST(ReportPage, SaysWhyAPartIsLeftOut) {
  const std::string page = report_page({.no_replay = "Prompt p has no future.", .no_look = "The trace is gone."});
  EXPECT_THAT(page, HasSubstr("Left out. Prompt p has no future."));
  EXPECT_THAT(page, HasSubstr("Left out. The trace is gone."));
  EXPECT_THAT(page, HasSubstr("Left out. No table of analyze is there."));
  EXPECT_THAT(page, Not(HasSubstr("look-data")));
}

TEST(ReportPage, HoldsFiguresTablesAndTheLook) {
  ReportContent content;
  content.tables["replay"] = results::Table::from_csv(
      "prompt,task,policy,parameters,budget_requested,slots_held,layer,retained_mass\n"
      "p,kv,snapkv,,64,64,all,0.75\np,kv,h2o,,64,64,all,0.5\n",
      "replay.csv");
  content.drawings = {{"loss", "loss", "<?xml?><svg id=\"x\"><use href='#x'/></svg>"}};
  content.look = Look{.policies = {"snapkv"}, .budgets = {"64"}, .choice = "These <two>.", .prompts = {}};
  const std::string page = report_page(content);
  EXPECT_THAT(page, HasSubstr("<svg id=\"loss-x\"><use href='#loss-x'/></svg>"));
  EXPECT_THAT(page, HasSubstr("At 64 slots, snapkv keeps 75.0 %"));
  EXPECT_THAT(
      page, HasSubstr("<td class=\"text\">h2o</td><td>64</td><td>64.0</td><td>64.0</td><td>50.00</td><td>25.00</td>"));
  EXPECT_THAT(page, HasSubstr("These &lt;two&gt;."));
  EXPECT_THAT(page, HasSubstr("id=\"look-data\">{\"policies\":[\"snapkv\"]"));
}

}  // namespace
}  // namespace evictlab::plots
