#include "results/equal_slots.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace evictlab::results {
namespace {

using Runs = std::vector<Run>;

Run run_at(const char* policy, double budget, double held, double mass, Role role = Role::kMethod) {
  Run run;
  run.key = {policy, ""};
  run.role = role;
  run.budget_text = std::to_string(static_cast<int>(budget));
  run.budget_slots = budget;
  run.prompt = "a";
  run.slots_held = held;
  run.measures[index_of(Measure::kRetainedMass)] = mass;
  return run;
}

std::optional<double> mass_of(const Run& run) { return run[Measure::kRetainedMass]; }

std::optional<double> mass_at(const SlotCurves& curves, double slots, const char* budget = "128") {
  const auto values = curves.values({"dynamickv", ""}, budget, {{"a", slots}}, mass_of);
  return values ? std::optional(values->at("a")) : std::nullopt;
}

TEST(EqualSlots, AreWithinOnePercentOrOneSlot) {
  EXPECT_TRUE(equal_slots(32, 33));
  EXPECT_FALSE(equal_slots(32, 33.5));
  EXPECT_TRUE(equal_slots(1000, 1010));
  EXPECT_FALSE(equal_slots(1000, 1012));
}

// From 96 slots to 192 is one doubling, to 135.76 half of it: the mean of the two masses.
TEST(SlotCurves, AreLinearInTheLogarithmOfTheSlotsBetweenTwoBudgets) {
  const SlotCurves curves({run_at("dynamickv", 64, 96, 0.6), run_at("dynamickv", 128, 192, 0.8)});
  EXPECT_NEAR(*mass_at(curves, 96 * std::sqrt(2.0)), 0.7, 1e-12);
  EXPECT_NEAR(*mass_at(curves, 128), 0.6 + 0.2 * std::log2(128.0 / 96.0), 1e-12);
}

TEST(SlotCurves, TakeARunAsItIsWhereItHoldsTheSlots) {
  const SlotCurves curves({run_at("dynamickv", 64, 96, 0.6), run_at("dynamickv", 100, 127, 0.72),
                           run_at("dynamickv", 128, 128.9, 0.75), run_at("dynamickv", 256, 380, 0.9)});
  EXPECT_EQ(mass_at(curves, 128, "128"), 0.75) << "the budget's own run first";
  EXPECT_EQ(mass_at(curves, 128, "100"), 0.72);
  EXPECT_EQ(mass_at(curves, 128, "64"), 0.75) << "then the nearest";
}

TEST(SlotCurves, SayNothingBeyondTheFirstAndTheLastBudget) {
  const SlotCurves curves({run_at("dynamickv", 64, 96, 0.6), run_at("dynamickv", 128, 192, 0.8)});
  EXPECT_FALSE(mass_at(curves, 64));
  EXPECT_FALSE(mass_at(curves, 256));
  EXPECT_EQ(mass_at(curves, 95.5), 0.6) << "but for what counts as equal";
}

// Held is 377 of 384 on one prompt and 384 on the other: 380.5 on average, which counts as equal; 377 does not.
TEST(SlotCurves, TakeARunOutOfReachWhereTheMeanOverPromptsIsEqual) {
  const auto with = [](double held_on_a) {
    Runs runs = {run_at("dynamickv", 384, held_on_a, 0.8), run_at("dynamickv", 384, 384, 0.9)};
    runs[1].prompt = "b";
    return SlotCurves(runs).values({"dynamickv", ""}, "384", {{"a", 384}, {"b", 384}}, mass_of);
  };
  EXPECT_TRUE(with(377));
  EXPECT_FALSE(with(370)) << "377 on average are not";
}

TEST(SlotCurves, CompareAtWhatAMethodHoldsNearestToWhatWasAskedFor) {
  const auto compared = [](const Runs& runs) { return *SlotCurves(runs).compared("128", "a"); };
  EXPECT_EQ(compared({run_at("dynamickv", 128, 194, 0.8), run_at("snapkv", 128, 128, 0.7)}), 128);
  EXPECT_EQ(compared({run_at("dynamickv", 128, 194, 0.8), run_at("blocks", 128, 120, 0.7)}), 120);
  EXPECT_EQ(compared({run_at("snapkv", 128, 100, 1.0), run_at("blocks", 128, 96, 0.9)}), 100) << "a prompt of 100 positions";
  EXPECT_EQ(compared({run_at("dynamickv", 128, 194, 0.8), run_at("protect-only", 128, 36, 0.1, Role::kControl)}), 194)
      << "controls hold what they do";
  Runs ratios = {run_at("dynamickv", 128, 194, 0.8), run_at("snapkv", 128, 128, 0.7), run_at("cake", 128, 127, 0.7)};
  for (auto& one : ratios) one.budget_slots.reset();
  EXPECT_EQ(compared(ratios), 128) << "of a ratio or bytes the median";
}

}  // namespace
}  // namespace evictlab::results
