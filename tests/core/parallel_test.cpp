#include "core/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace evictlab::core {
namespace {

class Parallel : public ::testing::Test {
 protected:
  void TearDown() override { set_threads(0); }
  const std::thread::id caller_ = std::this_thread::get_id();
};

TEST_F(Parallel, RunsEveryIndexOnce) {
  for (const std::size_t count : {1U, 2U, 4U}) {
    set_threads(count);
    EXPECT_EQ(threads(), count);
    std::vector<std::atomic<int>> runs(1000);
    parallel_for(runs.size(), [&](std::size_t i) { ++runs[i]; });
    for (const auto& run : runs) ASSERT_EQ(run, 1);
  }
}

TEST_F(Parallel, ZeroThreadsMeansTheMachines) {
  set_threads(0);
  EXPECT_GE(threads(), 1U);
}

TEST_F(Parallel, NothingToDoCallsNothing) {
  parallel_for(0, [](std::size_t) { FAIL(); });
}

TEST_F(Parallel, OneThreadRunsInOrderOnTheCaller) {
  set_threads(1);
  std::vector<std::size_t> order;
  parallel_for(50, [&](std::size_t i) {
    order.push_back(i);
    EXPECT_EQ(std::this_thread::get_id(), caller_);
  });
  std::vector<std::size_t> expected(50);
  std::iota(expected.begin(), expected.end(), std::size_t{0});
  EXPECT_EQ(order, expected);
}

TEST_F(Parallel, NestedLoopsRunEverything) {
  set_threads(4);
  std::vector<std::atomic<int>> runs(20 * 30);
  parallel_for(20, [&](std::size_t i) { parallel_for(30, [&, i](std::size_t j) { ++runs[i * 30 + j]; }); });
  for (const auto& run : runs) ASSERT_EQ(run, 1);
}

// While a thread waits for its inner loop it must not begin another outer body, whose scratch memory it shares.
TEST_F(Parallel, AnOuterBodyIsNotStartedInsideAnother) {
  set_threads(4);
  std::atomic<bool> entered_twice = false;
  parallel_for(64, [&](std::size_t) {
    thread_local bool inside = false;
    if (inside) entered_twice = true;
    inside = true;
    parallel_for(64, [](std::size_t) { std::this_thread::yield(); });
    inside = false;
  });
  EXPECT_FALSE(entered_twice);
}

TEST_F(Parallel, ABodysExceptionReachesTheCaller) {
  for (const std::size_t count : {1U, 4U}) {
    set_threads(count);
    EXPECT_THROW(parallel_for(100,
                              [](std::size_t i) {
                                if (i == 57) throw std::runtime_error("body 57");
                              }),
                 std::runtime_error);
  }
}

TEST_F(Parallel, OfSeveralExceptionsTheFirstBodysReachesTheCaller) {
  for (const std::size_t count : {1U, 2U, 7U}) {
    set_threads(count);
    for (int round = 0; round < 50; ++round) {
      try {
        parallel_for(100, [](std::size_t i) {
          if (i % 30 == 23) throw std::runtime_error(std::to_string(i));
        });
        FAIL();
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "23");
      }
    }
  }
}

TEST_F(Parallel, ALimitOfTwoThreadsIsKept) {
  set_threads(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  parallel_for(2000, [&](std::size_t) {
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_LE(seen.size(), 2U);
}

TEST_F(Parallel, ALoopInsideABodyRunsToItsEndWhenAnotherBodyThrows) {
  set_threads(4);
  std::atomic<bool> started = false;
  std::atomic<bool> thrown = false;
  std::atomic<int> inner = 0;
  const auto body = [&](std::size_t i) {
    if (i == 1) {
      while (!started) std::this_thread::yield();
      thrown = true;
      throw std::runtime_error("stop");
    }
    if (i != 0) return;
    started = true;
    while (!thrown) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the exception is on its way
    parallel_for(100, [&](std::size_t) { ++inner; });
  };
  EXPECT_THROW(parallel_for(2, body), std::runtime_error);
  EXPECT_EQ(inner, 100);
}

}  // namespace
}  // namespace evictlab::core
