// What holds for every part there is: identities, names, defaults.

#include "sim/policy/part.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "sim/policy/allocator.hpp"
#include "sim/policy/compose.hpp"
#include "sim/policy/decoding.hpp"
#include "sim/policy/registry.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/selector.hpp"

namespace evictlab::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// A value that the parameter may have, other than its default.
ParameterValue another_value(const Parameter& parameter) {
  if (const auto* range = std::get_if<IntegerRange>(&parameter.allowed)) {
    const auto value = std::get<std::int64_t>(parameter.default_value);
    const std::int64_t step = range->odd ? 2 : 1;
    return value + step <= range->maximum ? value + step : value - step;
  }
  if (const auto* range = std::get_if<NumberRange>(&parameter.allowed)) {
    const auto value = std::get<double>(parameter.default_value);
    return (value + range->maximum) / 2.0 != value ? (value + range->maximum) / 2.0 : range->minimum;
  }
  for (const std::string& name : std::get<Choices>(parameter.allowed).names) {
    if (ParameterValue(name) != parameter.default_value) return name;
  }
  ADD_FAILURE() << parameter.name << " has one value only";
  return parameter.default_value;
}

template <typename Kind, typename Make>
void expect_distinct_identities(const Make& make) {
  std::set<std::string> identities;
  for (const PartInfo<Kind>& info : parts<Kind>()) {
    const auto with_defaults = make({info.name});
    if (!with_defaults) continue;  // "none" stands for no scorer
    EXPECT_TRUE(identities.insert(with_defaults->identity()).second) << with_defaults->identity();
    EXPECT_EQ(make({info.name})->identity(), with_defaults->identity());
    ParameterList all = info.definition.parameters;
    all.add(info.definition.settings);
    for (const Parameter& parameter : all.all()) {
      const auto other = make({info.name, {{parameter.name, another_value(parameter)}}});
      EXPECT_TRUE(identities.insert(other->identity()).second) << other->identity();
    }
  }
}

TEST(Part, of_another_value_of_any_parameter_has_another_identity) {
  expect_distinct_identities<Scorer>([](const PartChoice& choice) { return make_scorer(choice); });
  expect_distinct_identities<Allocator>([](const PartChoice& choice) { return make_allocator(choice); });
  expect_distinct_identities<Selector>([](const PartChoice& choice) { return make_selector(choice); });
  expect_distinct_identities<DecodeRule>([](const PartChoice& choice) { return make_decoder(choice); });
}

template <typename Kind>
void expect_described() {
  std::set<std::string> names;
  for (const PartInfo<Kind>& info : parts<Kind>()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_FALSE(info.definition.description.empty()) << info.name;
    for (const auto* list : {&info.definition.parameters, &info.definition.settings}) {
      for (const Parameter& parameter : list->all()) EXPECT_FALSE(parameter.help.empty()) << info.name;
    }
  }
}

TEST(Part, says_what_it_and_every_parameter_is) {
  expect_described<Scorer>();
  expect_described<Allocator>();
  expect_described<Selector>();
  expect_described<DecodeRule>();
}

TEST(Part, takes_the_policys_parameters_unless_it_is_set) {
  ParameterList declared;
  declared.add(scorer_parameters("window")).set_defaults({{"kernel", "5"}});
  const Parameters policy("policy 'x'", declared, {{"window", "16"}});
  EXPECT_THAT(make_scorer({"window"}, &policy)->identity(), HasSubstr("window(window=16,kernel=5,"));
  EXPECT_THAT(make_scorer({"window", {{"kernel", 3}}}, &policy)->identity(), HasSubstr("window(window=16,kernel=3,"));
}

// What only policies set is not taken from a parameter of the same name that another part has.
TEST(Part, settings_are_set_by_name_alone) {
  ParameterList declared;
  declared.number("floor_alpha", 0.2, {0.0, 1.0}, "of another part");
  const Parameters policy("policy 'x'", declared, {});
  EXPECT_THAT(make_selector({"two-stage"}, &policy)->identity(), HasSubstr("floor_alpha=0)"));
}

TEST(Part, refuses_values_it_does_not_take_and_names_it_does_not_have) {
  EXPECT_THAT(
      [] {
        make_scorer({"mean-variance", {{"window", 1}}});
      },
      ThrowsMessage<ImpossiblePolicy>(
          "scorer 'mean-variance': window must be a whole number in 2..2147483648, got '1'"));
  EXPECT_THROW(make_scorer({"windo"}), std::logic_error);
  EXPECT_THROW(make_scorer({"window", {{"kernl", 3}}}), std::logic_error);
}

TEST(Compose, offers_no_part_that_only_policies_use) {
  for (const auto& part : scorers()) EXPECT_NE(part.name, "torch-random");
  for (const auto& part : selectors()) EXPECT_NE(part.name, "recent-first");
  EXPECT_EQ(scorers().size(), 20U);
  EXPECT_EQ(allocators().size(), 12U);
  EXPECT_EQ(selectors().size(), 3U);
}

TEST(Parameter, has_the_name_of_the_authors_code_as_an_alias) {
  EXPECT_EQ(make_policy("dynamickv(radio_max=5)").text(), make_policy("dynamickv(ratio_max=5)").text());
  EXPECT_THAT(make_policy("dynamickv(radio_max=5)").text(), HasSubstr("ratio_max=5"));
  EXPECT_THAT([] { make_policy("dynamickv(radio_max=5,ratio_max=6)"); },
              ThrowsMessage<PolicyError>(HasSubstr("ratio_max is given twice")));
}

}  // namespace
}  // namespace evictlab::sim
