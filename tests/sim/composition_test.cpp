// Parts recombined, and policies under constraints of a deployment.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "random_layers.hpp"
#include "sim/policy/compose.hpp"
#include "sim/policy/constraints.hpp"

namespace evictlab::sim {
namespace {

using ::testing::HasSubstr;
using testing::kept_sets;
using testing::RandomLayers;
using ::testing::ThrowsMessage;

const RandomLayers& layers() {
  static const RandomLayers only(
      {.layers = 4, .query_heads = 4, .kv_heads = 2, .length = 150, .window = 64, .seed = 3});
  return only;
}

TEST(Compose, MakesThePoliciesThereAreFromTheirParts) {
  const std::pair<const char*, const char*> same[] = {
      {"snapkv", "compose"},
      {"snapkv(axis=query,kernel=5)", "compose(axis=query,kernel=5)"},
      {"pyramidkv", "compose(allocator=pyramid)"},
      {"ada-snapkv", "compose(allocator=adaptive)"},
      {"ada-pyramid", "compose(allocator=adaptive-pyramid)"},
      {"h2o", "compose(scorer=mass)"},
      {"tova(window=1)", "compose(scorer=last-query,window=1)"},
      {"knorm", "compose(scorer=key-norm,window=0)"},
      {"keydiff", "compose(scorer=key-difference,window=0)"},
      {"cake", "compose(scorer=mean-variance,allocator=preference)"},
      {"cake(variant=paper)", "compose(scorer=mean-variance,allocator=preference,exact=yes)"},
      {"dynamickv(axis=kv,window=32)", "compose(allocator=global-counts,pooling=avg)"},
      {"windowkv(strategy=average,suffix=32,shared_layers=2,variant=paper)",
       "compose(scorer=window-blocks,top=0,allocator=layer-groups,exact=yes,selector=blocks,block=8,shared_layers=2)"},
      {"oracle", "compose(scorer=future,window=0)"}};
  for (const auto& [policy, composed] : same) {
    for (const double slots : {70.0, 110.0}) {
      EXPECT_EQ(kept_sets(layers().kept(policy, slots)), kept_sets(layers().kept(composed, slots))) << composed;
    }
  }
}

TEST(Compose, EveryCombinationWorksOrSaysWhyItCannot) {
  std::size_t possible = 0;
  for (const auto& scorer : scorers()) {
    for (const auto& allocator : allocators()) {
      for (const auto& selector : selectors()) {
        if (scorer.name == "given" || allocator.name == "given") continue;  // need a file
        const std::string text =
            fmt::format("compose(scorer={},allocator={},selector={})", scorer.name, allocator.name, selector.name);
        try {
          const Retention kept = layers().kept(text, 60);
          ++possible;
          for (const LayerRetention& layer : kept.layers) EXPECT_GT(layer.positions.size(), 0U) << text;
        } catch (const ImpossiblePolicy& error) {
          EXPECT_THAT(error.what(), HasSubstr("policy 'compose': ")) << text;
        }
      }
    }
  }
  EXPECT_GT(possible, 250U);
}

// "window(window=32,...)" of a scorer that is shared or not.
template <typename Kind, typename Make>
void expect_own_defaults(const Kind& part, const std::string& name, const Make& make, const std::string& text) {
  const auto alone = make(PartChoice{name, {}});
  EXPECT_EQ(part ? part->identity() : "none", alone ? alone->identity() : "none") << text;
}

// The parameters printed of a composition say all of it, and a part is the same in all compositions: rows of the matrix
// differ in the part that they name and in nothing else.
TEST(Compose, WhatIsPrintedIsWhatIsUsed) {
  for (const std::string& text : compose_matrix()) {
    Policy policy;
    try {
      policy = make_policy(text);
    } catch (const ImpossiblePolicy&) {
      continue;
    }
    const Policy again = make_policy(policy.text());
    EXPECT_EQ(again.text(), policy.text());
    EXPECT_EQ(again.label(), policy.label());
    EXPECT_EQ(kept_sets(evict(again, layers().views(), 60)), kept_sets(evict(policy, layers().views(), 60))) << text;
    const PolicySpec spec = parse_policy(text);
    expect_own_defaults(
        policy.scorer, spec.parameters[0].second, [](const auto& one) { return make_scorer(one); }, text);
    expect_own_defaults(
        policy.allocator, spec.parameters[1].second, [](const auto& one) { return make_allocator(one); }, text);
    expect_own_defaults(
        policy.selector, spec.parameters[2].second, [](const auto& one) { return make_selector(one); }, text);
    EXPECT_EQ(policy.protection, (Protection{0, 32})) << text;
  }
}

TEST(Compose, PartsWithOtherDefaultsOfAParameterHaveEachTheirOwn) {
  const std::string blocks = "compose(scorer=window-blocks,selector=blocks";
  EXPECT_THAT(make_policy(blocks + ")").text(), AllOf(HasSubstr(",scorer.block=8,"), HasSubstr(",selector.block=16,")));
  EXPECT_EQ(make_policy(blocks + ",block=4)").text(), make_policy(blocks + ",scorer.block=4,selector.block=4)").text());
  EXPECT_EQ(make_policy(blocks + ",selector.block=4,block=2)").text(),
            make_policy(blocks + ",scorer.block=2,selector.block=4)").text());
  EXPECT_THAT(make_policy("compose(allocator=layer-groups,selector=blocks)").text(),
              AllOf(HasSubstr("allocator.shared_layers=8"), HasSubstr("selector.shared_layers=1")));
  EXPECT_THAT(make_policy("compose(scorer=expected,selector=two-stage)").text(),
              AllOf(HasSubstr(",sinks=0,"), HasSubstr("scorer.sinks=4"), HasSubstr("scorer.epsilon=0,"),
                    HasSubstr("selector.epsilon=0.0001")));
  EXPECT_EQ(make_policy("compose(scorer=expected,sinks=2)").label(), "compose(scorer=expected,sinks=2,scorer.sinks=2)");
  EXPECT_THAT([] { make_policy("compose(selector=blocks,selector.block=4)"); },
              ThrowsMessage<PolicyError>(HasSubstr("no parameter 'selector.block'")));
  EXPECT_THAT([&] { make_policy(blocks + ",block=x)"); },
              ThrowsMessage<PolicyError>(HasSubstr("block must be a whole")));
}

TEST(Compose, CombinationsThatCannotBeNameBothSides) {
  EXPECT_THAT([] { make_policy("compose(scorer=none,allocator=adaptive)"); },
              ThrowsMessage<ImpossiblePolicy>(AllOf(HasSubstr("by scores"), HasSubstr("no scorer"))));
  EXPECT_THAT([] { make_policy("compose(allocator=preference,selector=two-stage)"); },
              ThrowsMessage<ImpossiblePolicy>(AllOf(HasSubstr("two-stage"), HasSubstr("preference"))));
  EXPECT_THAT([] { make_policy("compose(scorer=mean-variance,window=1)"); },
              ThrowsMessage<ImpossiblePolicy>(AllOf(HasSubstr("mean-variance"), HasSubstr("in 2.."))));
  EXPECT_THAT([] { make_policy("compose(scorer=windo)"); },
              ThrowsMessage<PolicyError>(HasSubstr("did you mean 'window'")));
  EXPECT_THAT([] { make_policy("compose(beta=3)"); }, ThrowsMessage<PolicyError>(HasSubstr("beta")));
}

TEST(Constraints, MatchedProtectionIsWhatEveryPolicyKeeps) {
  for (const PolicyInfo& info : policies()) {
    if (info.definition.from_file) continue;
    MakeOptions options;
    options.constraints = {{"protect", "5+40"}};
    bool left_out = false;
    options.left_out = [&](const std::string&) { left_out = true; };
    try {
      const Policy policy = make_policies(info.name, options).front();
      if (policy.allocator->traits().ignores_budget) continue;
      for (const LayerRetention& layer : evict(policy, layers().views(), 100).layers) {
        for (Index set = 0; set < layer.sets(); ++set) {
          const auto kept = layer.kept_ascending(set);
          for (std::int32_t j = 0; j < 150; ++j) {
            if (j < 5 || j >= 110) {
              EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), j)) << info.name << " " << j;
            }
          }
        }
      }
    } catch (const ImpossiblePolicy& error) {
      EXPECT_FALSE(left_out) << "the error says it";
      EXPECT_THAT(error.what(), HasSubstr(info.name));
    }
  }
}

TEST(Constraints, BlocksAreKeptWholeAndStartAtMultiplesOfTheirSize) {
  for (const char* name : {"snapkv", "ada-snapkv", "cake(variant=paper)", "h2o", "random", "pyramidkv", "tova"}) {
    std::string text = name;
    text = text.back() == ')' ? text.substr(0, text.size() - 1) + ",blocks=16)" : text + "(blocks=16)";
    for (const auto& layer : kept_sets(layers().kept(text, 90))) {
      for (const auto& set : layer) {
        std::vector<int> held(10, 0);
        for (const std::int32_t j : set) ++held[static_cast<std::size_t>(j / 16)];
        for (std::size_t block = 0; block < 10; ++block) {
          EXPECT_TRUE(held[block] == 0 || held[block] == (block == 9 ? 6 : 16)) << text << " block " << block;
        }
      }
    }
  }
}

TEST(Constraints, SharedSetsAreTheSameForAllHeadsAndStayInTheBudget) {
  const Policy by_layer = make_policy("snapkv(share=layer)");
  for (const LayerRetention& layer : evict(by_layer, layers().views(), 70).layers) {
    EXPECT_EQ(layer.sets(), 1);
    EXPECT_EQ(layer.positions.size(), 70U);
  }
  const Policy by_kv = make_policy("snapkv(axis=query,share=kv)");
  EXPECT_EQ(evict(by_kv, layers().views(), 70).layers.front().sets(), 2);
  // Of the heads' own pooled scores the mean decides, which is snapkv pooling first.
  EXPECT_EQ(kept_sets(evict(by_kv, layers().views(), 70)), kept_sets(layers().kept("snapkv(order=pool-first)", 70)));
  EXPECT_THAT([] { make_policy("tova(share=kv)"); }, ThrowsMessage<ImpossiblePolicy>(HasSubstr("share=kv")));
}

TEST(Constraints, UniformLayersGiveEveryLayerTheSame) {
  for (const char* text : {"cake(layers=uniform)", "pyramidkv(layers=uniform)", "dynamickv(layers=uniform,axis=kv)",
                           "ada-pyramid(layers=uniform,floor_alpha=0)"}) {
    for (const LayerRetention& layer : layers().kept(text, 70).layers) {
      EXPECT_EQ(testing::stored(layer), 70 * layer.sets()) << text;
    }
  }
}

TEST(Constraints, TheAuthorsUnitIsTheirCapacityPerSet) {
  const Policy policy = make_policy("snapkv(axis=query,budget_unit=authors)");
  for (const LayerRetention& layer : evict(policy, layers().views(), 50).layers) {
    for (Index set = 0; set < 4; ++set) EXPECT_EQ(layer.kept(set).size(), 50U);
  }
  for (const LayerRetention& layer : layers().kept("snapkv(axis=query)", 80).layers) {
    for (Index set = 0; set < 4; ++set) EXPECT_EQ(layer.kept(set).size(), 40U);
  }
}

TEST(Constraints, AreWrittenBackAndRefusedWhenTheyMakeNoSense) {
  EXPECT_EQ(make_policy("snapkv(blocks=16,protect=4+32)").label(), "snapkv(protect=4+32,blocks=16)");
  EXPECT_EQ(protect_value("sinks=4,window=32"), "4+32");
  for (const char* text : {"snapkv(protect=4)", "snapkv(blocks=0)", "snapkv(share=all)", "snapkv(layers=free)",
                           "snapkv(budget_unit=ours)", "snapkv(protect=-1+3)"}) {
    EXPECT_THROW(make_policy(text), PolicyError) << text;
  }
  EXPECT_THROW(protect_value("sinks=x"), PolicyError);
  EXPECT_EQ(protect_value("sinks=4"), "4+0");
  EXPECT_THAT([] { protect_value("sinks=4,sinks=5"); }, ThrowsMessage<PolicyError>(HasSubstr("sinks is given twice")));
  EXPECT_THROW(parse_constraints("kernel=7"), PolicyError);
  EXPECT_THAT([] { parse_constraints(" "); }, ThrowsMessage<PolicyError>(HasSubstr("at least one of protect, share")));
  EXPECT_THAT([] { make_policy("chunkkv(blocks=16)"); }, ThrowsMessage<ImpossiblePolicy>(HasSubstr("blocks of 16")));
}

}  // namespace
}  // namespace evictlab::sim
