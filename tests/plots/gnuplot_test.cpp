#include "plots/gnuplot.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <random>

#include "core/file.hpp"
#include "plots/figures.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::plots {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// PATH as the test sets it, as it was afterwards.
class PathGuard {
 public:
  explicit PathGuard(const std::string& path) : previous_(std::getenv("PATH")) { setenv("PATH", path.c_str(), 1); }
  ~PathGuard() { setenv("PATH", previous_.c_str(), 1); }
  PathGuard(const PathGuard&) = delete;
  PathGuard& operator=(const PathGuard&) = delete;
  const std::string& previous() const { return previous_; }

 private:
  std::string previous_;
};

Figure figure(const std::string& script) { return {"figure", 300, 200, script}; }

void write_fake_gnuplot(const std::filesystem::path& path, const std::string& body) {
  core::write_text(path, "#!/bin/sh\n" + body);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

template <typename Exception>
std::string message_of(const Figure& drawn) {
  try {
    draw(drawn);
  } catch (const Exception& error) {
    return error.what();
  }
  return "no such exception";
}

TEST(Gnuplot, DrawsPngSvgAndPdf) {
  const auto images = draw(figure("plot x notitle\n"));
  ASSERT_EQ(images.size(), 3U);
  EXPECT_THAT(images[0], StartsWith("\x89PNG\r\n"));
  EXPECT_THAT(images[1], HasSubstr("</svg>"));
  EXPECT_THAT(images[2], StartsWith("%PDF-"));
  EXPECT_THAT(files_of(figure("")), ElementsAre("figure.png", "figure.svg", "figure.pdf"));
}

TEST(Gnuplot, TextsStandForThemselves) {
  EXPECT_EQ(label_text("a\nb\x7f", 60), "a b ");
  EXPECT_EQ(label_text("a\xff\xc3", 60), "a\uFFFD\uFFFD");
  const auto images = draw(figure("set title " + gnuplot_label("it's `x` a_b @y <&") + "\nplot x notitle\n"));
  EXPECT_THAT(images[1], HasSubstr("it's `x` a_b @y &lt;&amp;"));
}

/// Texts of characters that some scanner minds, and any others.
std::vector<std::string> odd_texts(std::size_t count) {
  constexpr std::string_view kOdd[] = {"'",  "''", "\"",   "\\",  "`",     "$", "@", "%", "%s", "#",
                                       "\n", "\t", "\x01", "{",   "}",     "_", "^", "~", "&",  "<",
                                       "é",  "語", "😀",   "\\n", "\\047", "7", "a", " ", ","};
  std::mt19937 random(7);
  std::vector<std::string> texts = {"", "'", "''", "'''", "''''", "'a", "a'", "a''b", "\\", "\"", "`date`", "\\'"};
  while (texts.size() < count) {
    std::string& text = texts.emplace_back();
    for (std::size_t length = random() % 12; text.size() < length;) text += kOdd[random() % std::size(kOdd)];
  }
  return texts;
}

TEST(Gnuplot, StringsStandForExactlyTheirBytes) {
  const testing::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "texts";
  std::string script = "set print " + gnuplot_string(path.string()) + "\n";
  std::string expected;
  for (const std::string& text : odd_texts(2000)) {
    script += "print " + gnuplot_string(text) + "\n";
    expected += text + "\n";
  }
  draw_svg(figure(script + "unset print\nplot x notitle\n"));
  EXPECT_EQ(core::read_text(path), expected);
}

TEST(Gnuplot, AnyBytesAreALabelATicAndATitle) {
  std::mt19937 random(11);
  std::vector<std::string> texts = odd_texts(60);
  for (int i = 0; i < 60; ++i) {
    std::string& text = texts.emplace_back();
    for (std::size_t length = random() % 40; text.size() < length;) text += static_cast<char>(random() % 256);
  }
  texts.push_back(std::string(3000, 'n'));
  std::string script;
  std::string tics;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    script += fmt::format("set label {} {} at 0,{}\n", i + 1, gnuplot_label(texts[i]), i);
    tics += fmt::format("{}{} {}", i == 0 ? "" : ", ", gnuplot_tic(texts[i]), i);
  }
  const std::string whole = fmt::format("{}set ytics ({})\nset title {}\nplot x title {}\n", script, tics,
                                        gnuplot_label(texts.back()), gnuplot_label("'"));
  EXPECT_EQ(draw(figure(whole)).size(), 3U);
}

TEST(Gnuplot, PercentSignsOfATicAreNoFormat) {
  EXPECT_THAT(draw_svg(figure("set xtics (" + gnuplot_tic("20%s") + " 0)\nplot x notitle\n")), HasSubstr("20%s"));
}

TEST(Gnuplot, CellsAreShortPathsAndOtherShapesStayAsTheyAre) {
  const std::string cell =
      "set xrange [0:1]\nset yrange [0:1]\nplot '-' using 1:2:(.1):(.1) with boxxyerror fs solid noborder lc rgb "
      "'#3366cc' notitle\n.5 .5\ne\n";
  const std::string svg = draw_svg(figure(cell));
  const std::size_t begin = svg.find("<path fill='#3366cc' d='M");
  ASSERT_NE(begin, std::string::npos);
  const std::string path = svg.substr(begin, svg.find('\n', begin) - begin);
  EXPECT_THAT(path, ::testing::EndsWith("z'/>"));
  EXPECT_LT(path.size(), 70U);
  EXPECT_THAT(svg, ::testing::Not(HasSubstr("polygon")));
  const std::string triangle = "plot '-' with filledcurves closed fc rgb '#3366cc' notitle\n0 0\n1 1\n2 0\ne\n";
  EXPECT_THAT(draw_svg(figure(triangle)), HasSubstr("<polygon fill = 'rgb( 51, 102, 204)'"));
}

TEST(Gnuplot, LongLabelsEndInAnEllipsisBetweenCharacters) {
  EXPECT_EQ(label_text(std::string(61, 'a'), 60), std::string(57, 'a') + "…");
  EXPECT_EQ(label_text(std::string(60, 'a'), 60), std::string(60, 'a'));
  EXPECT_EQ(label_text("aéééé", 8), "aéé…");
}

TEST(Gnuplot, ATemporaryDirectoryThatIsNotThereIsReplaced) {
  const char* const before = std::getenv("TMPDIR");
  const std::string previous = before == nullptr ? "/tmp" : before;
  setenv("TMPDIR", "/nowhere/at all", 1);
  EXPECT_THAT(draw_svg(figure("plot x notitle\n")), HasSubstr("</svg>"));
  setenv("TMPDIR", previous.c_str(), 1);
}

TEST(Gnuplot, ABadLineIsAnErrorThoughGnuplotGoesOn) {
  EXPECT_THAT(message_of<std::runtime_error>(figure("set nonsense 3\nplot x notitle\n")), HasSubstr("line "));
}

TEST(Gnuplot, MissingGnuplotIsSaidInOneLine) {
  const testing::TemporaryDirectory directory;
  const PathGuard guard(directory.path().string());
  const std::string message = message_of<PlotError>(figure("plot x\n"));
  EXPECT_THAT(message, HasSubstr("gnuplot was not found"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(Gnuplot, OneThatDiesWithoutReadingDoesNotTakeTheProgramWithIt) {
  const testing::TemporaryDirectory directory;
  write_fake_gnuplot(directory / "gnuplot", "echo 'no display' >&2; exit 3\n");
  const PathGuard guard(directory.path().string());
  const std::string large(1 << 20, '#');  // more than a pipe holds
  const std::string message = message_of<std::runtime_error>(figure(large + "\n"));
  EXPECT_THAT(message, HasSubstr("no display"));
}

TEST(Gnuplot, OneThatDrawsNothingIsAnError) {
  const testing::TemporaryDirectory directory;
  // Reports the end of the script, but leaves no figure.
  write_fake_gnuplot(directory / "gnuplot", "file=$(sed -n 's/^set print \"\\(.*\\)\"/\\1/p'); echo end >\"$file\"\n");
  const PathGuard guard(directory.path().string() + ":" + std::getenv("PATH"));
  EXPECT_THAT(message_of<std::runtime_error>(figure("plot x\n")), HasSubstr("empty"));
}

TEST(Gnuplot, AcceptsEveryFigureOfSmallAndLargeResults) {
  results::Table replay({"prompt", "task", "policy", "parameters", "budget_requested", "slots_held", "layer",
                         "retained_mass", "relative_loss"});
  results::Table budgets({"prompt", "policy", "parameters", "budget_requested", "layer", "head", "slots"});
  results::Table positions({"prompt", "policy", "parameters", "budget_requested", "layer", "depth_bin", "share"});
  results::Table attention({"prompt", "task", "layer", "head", "normalized_entropy", "sink_mass", "recent_mass"});
  results::Table spans({"prompt", "task", "prompt_length", "depth", "policy", "parameters", "budget_requested", "layer",
                        "span", "retained"});
  results::Table tasks({"task", "table", "quantity", "layer", "mean", "low", "high", "prompts"});
  results::Table concentration({"prompt", "task", "layer", "head", "fraction", "mass"});
  results::Table overlap({"prompt", "task", "layer", "other_layer", "overlap"});
  results::Table future({"prompt", "task", "layer", "step", "hit_rate", "drift"});
  results::Table scorers({"prompt", "task", "layer", "policy", "parameters", "spearman", "recall"});
  results::Table maps({"prompt", "task", "prompt_length", "layer", "query", "depth_bin", "attention"});
  results::Table differences({"task", "quantity", "layer_a", "layer_b", "mean_a", "mean_b", "difference", "low", "high",
                              "paired", "prompts_a", "prompts_b"});
  differences.add_row({std::string("all"), std::string("preference_distance"), std::monostate{}, std::monostate{},
                       std::monostate{}, std::monostate{}, 0.5, 0.25, 0.75, std::string("no"), std::int64_t{2},
                       std::int64_t{2}});
  const std::vector<std::string> quantities = {"dispersion_normalized", "shift_normalized", "preference_share",
                                               "retained_share",        "lazy_mass",        "window_hit_rate",
                                               "head_spread",           "group_cost",       "group_overlap",
                                               "head_overlap",          "run_length",       "sink_mass",
                                               "recent_mass",           "heavy_mass",       "rest_mass",
                                               "positions_80",          "positions_90",     "positions_95",
                                               "positions_99"};
  for (const std::string prompt : {"a", "b"}) {
    for (std::int64_t layer = 0; layer < 40; ++layer) {
      differences.add_row({std::string("all"), std::string("shift_normalized"), layer, layer, 0.5, 0.25, 0.25, 0.0, 0.5,
                           std::string("no"), std::int64_t{2}, std::int64_t{2}});
      attention.add_row({prompt, "task'" + prompt, layer, std::int64_t{0}, 0.5, 0.25, 0.125});
      for (const std::string& quantity : quantities) {
        tasks.add_row({"task'" + prompt, std::string("layers"), quantity, layer, 0.5, 0.25, 0.75, std::int64_t{1}});
        tasks.add_row({std::string("all"), std::string("layers"), quantity, layer, 0.5, 0.25, 0.75, std::int64_t{2}});
      }
      for (const double fraction : {0.01, 0.5}) {
        concentration.add_row({prompt, std::string(), layer, std::int64_t{0}, fraction, fraction});
      }
      maps.add_row({prompt, std::string(), std::int64_t{500}, layer, std::int64_t{490}, layer, 0.5});
      overlap.add_row({prompt, std::string(), layer, std::int64_t{39} - layer, 0.5});
      future.add_row({prompt, std::string(), layer, layer * 10, 0.5, 0.25});
      for (const std::string policy : {"oracle", "random", "snap'kv_{x}"}) {
        budgets.add_row({prompt, policy, std::monostate{}, std::int64_t{64}, layer, std::int64_t{0}, 64 + layer});
        positions.add_row({prompt, policy, std::monostate{}, std::int64_t{64}, layer, std::int64_t{0}, 1.0});
        spans.add_row({prompt, std::string(), std::int64_t{500}, 0.5, policy, std::monostate{}, std::int64_t{64}, layer,
                       std::string("needle"), 0.5});
        scorers.add_row({prompt, std::string(), layer, policy, std::monostate{}, -0.5, 0.25});
      }
    }
    for (const std::string policy : {"oracle", "random", "snap'kv_{x}"}) {
      replay.add_row({prompt, "task'" + prompt, policy, std::monostate{}, std::int64_t{64}, std::int64_t{64},
                      std::string("all"), policy == "oracle" ? 0.9 : 0.5, 0.25});
      spans.add_row({prompt, std::string(), std::int64_t{500}, 0.5, policy, std::monostate{}, std::int64_t{64},
                     std::string("all"), std::string("needle"), 0.5});
    }
  }
  results::Table kept_overlap(
      {"prompt", "policy", "parameters", "other_policy", "other_parameters", "budget_requested", "overlap"});
  kept_overlap.add_row({std::string("a"), std::string("random"), std::monostate{}, std::string("snap'kv_{x}"),
                        std::monostate{}, std::int64_t{64}, 0.5});
  const ResultTables tables = {{"replay", replay},
                               {"budgets", budgets},
                               {"positions", positions},
                               {"spans", spans},
                               {"kept_overlap", kept_overlap},
                               {"attention", attention},
                               {"tasks", tasks},
                               {"concentration", concentration},
                               {"overlap", overlap},
                               {"future", future},
                               {"maps", maps},
                               {"scorers", scorers},
                               {"differences", differences}};
  const auto figures = all_figures(tables);
  ASSERT_EQ(figures.size(), 22U);
  for (const Figure& one : figures) EXPECT_EQ(draw(one).size(), 3U) << one.name;
}

}  // namespace
}  // namespace evictlab::plots
