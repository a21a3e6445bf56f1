// Prompts of which only some layers are recorded: what policies keep in them is what they keep of a whole recording.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "sim/policy/compose.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr const char* kBudgets = "40,70,90.5KiB";
const std::vector<Index> kRecorded = {0, 3, 7, 11};

const trace::MemoryTrace& whole() {
  static const trace::MemoryTrace trace = [] {
    trace::SyntheticOptions options;
    options.prompts = 1;
    options.layers = 12;
    options.length = 120;
    options.future = 4;
    options.window = 64;
    options.repeat_attention = true;
    return synthesize(options);
  }();
  return trace;
}

// The same prompts with layers 0, 3, 7 and 11 alone.
class Partial final : public trace::Source {
 public:
  Partial() : prompts_(whole().prompts()) {
    for (trace::PromptInfo& prompt : prompts_) prompt.layers = kRecorded;
  }
  const trace::ModelInfo& model() const override { return whole().model(); }
  const std::vector<trace::PromptInfo>& prompts() const override { return prompts_; }
  std::vector<std::int32_t> tokens(Index prompt) const override { return whole().tokens(prompt); }
  trace::LayerData layer(Index prompt, Index layer, trace::Fields fields) const override {
    return whole().layer(prompt, layer, fields);
  }
  trace::RowMatrix output_weight(Index layer) const override { return whole().output_weight(layer); }

 private:
  std::vector<trace::PromptInfo> prompts_;
};

// The rows of the recorded layers, as text.
std::vector<std::string> rows_of_recorded(const results::Table& table) {
  std::set<std::string> layers;
  for (const Index layer : kRecorded) layers.insert(std::to_string(layer));
  std::vector<std::string> rows;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    if (!layers.contains(table.text(row, table.column("layer")))) continue;
    std::string& text = rows.emplace_back();
    for (std::size_t column = 0; column < table.columns().size(); ++column) text += table.text(row, column) + "|";
  }
  return rows;
}

// Every policy, every variant of it, and what the matrix offers: by text.
std::map<std::string, Policy> every_policy() {
  std::map<std::string, Policy> all;
  std::vector<std::string> texts = compose_matrix();
  for (const PolicyInfo& info : policies()) {
    if (info.definition.from_file) continue;
    texts.push_back(info.name);
    for (const Variant& variant : info.definition.variants) {
      texts.push_back(fmt::format("{}({}={})", info.name, kVariantParameter, variant.name));
    }
  }
  for (const char* text : {"oracle(over=heads)", "oracle(over=layers)", "ada-snapkv(skip=4)", "cake(layers=uniform)",
                           "compose(selector=blocks,shared_layers=4)"}) {
    texts.emplace_back(text);
  }
  for (const std::string& text : texts) {
    try {
      Policy policy = make_policy(text);
      all.emplace(policy.text(), std::move(policy));
    } catch (const ImpossiblePolicy&) {  // parts that do not fit
    }
  }
  return all;
}

bool serves_partial(const Policy& policy) {
  try {
    check_layers(policy, whole().model(), Partial().prompts().front());
    return true;
  } catch (const PolicyError&) {
    return false;
  }
}

TEST(PartialRecording, keeps_of_the_recorded_layers_what_the_whole_recording_keeps) {
  std::vector<Policy> usable;
  for (const auto& [text, policy] : every_policy()) {
    if (serves_partial(policy) && text.find("allocator=given") == std::string::npos) usable.push_back(policy);
  }
  EXPECT_GT(usable.size(), 200U);
  const std::vector<Budget> budgets = parse_budgets(kBudgets);
  const ReplayResult of_whole = replay(whole(), usable, budgets);
  const ReplayResult of_part = replay(Partial(), usable, budgets);
  EXPECT_EQ(rows_of_recorded(of_part.budgets), rows_of_recorded(of_whole.budgets));
  EXPECT_EQ(rows_of_recorded(of_part.replay), rows_of_recorded(of_whole.replay));
  EXPECT_EQ(rows_of_recorded(of_part.positions), rows_of_recorded(of_whole.positions));
}

// b = 70 - 32 = 38 of 88 candidates, beta = 20: lo = 38 / 20 = 1, hi = 2 * 38 - 1 = 75, step = 74 / 11 = 6. Layer l has
// 32 + 75 - 6 l.
TEST(PartialRecording, gives_layers_the_share_of_their_place_in_the_model) {
  const ReplayResult result = replay(Partial(), make_policies("pyramidkv"), parse_budgets("70"));
  std::map<std::string, std::string> slots;
  for (std::size_t row = 0; row < result.budgets.rows(); ++row) {
    slots[result.budgets.text(row, result.budgets.column("layer"))] =
        result.budgets.text(row, result.budgets.column("slots"));
  }
  EXPECT_EQ(slots, (std::map<std::string, std::string>{{"0", "107"}, {"3", "89"}, {"7", "65"}, {"11", "41"}}));
}

TEST(PartialRecording, is_refused_where_layers_depend_on_each_other) {
  std::set<std::string> refused;
  for (const PolicyInfo& info : policies()) {
    if (info.definition.from_file) continue;
    if (!serves_partial(make_policy(info.name))) refused.insert(info.name);
  }
  EXPECT_EQ(refused, (std::set<std::string>{"cake", "dynamickv", "kvzip", "lava", "layer-defensivekv", "windowkv"}));
  for (const char* text : {"cake", "dynamickv", "oracle(over=layers)", "compose(allocator=all-layers)",
                           "compose(allocator=hindsight)", "compose(allocator=preference,cascading=no)"}) {
    EXPECT_THAT([&] { replay(Partial(), make_policies(text), parse_budgets("70")); },
                ThrowsMessage<PolicyError>(AllOf(HasSubstr(make_policy(text).name), HasSubstr("of all layers"),
                                                 HasSubstr("recorded 4 of 12 layers"), HasSubstr("layers=uniform"))))
        << text;
  }
  EXPECT_THAT([] { replay(Partial(), make_policies("windowkv"), parse_budgets("70")); },
              ThrowsMessage<PolicyError>(
                  AllOf(HasSubstr("'windowkv' selects once for 3 successive layers"), HasSubstr("4 of 12 layers"))));
}

}  // namespace
}  // namespace evictlab::sim
