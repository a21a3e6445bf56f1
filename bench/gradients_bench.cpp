// What gradients cost beside the future's forward pass: evictlab_gradients_bench MODEL [PROMPT FUTURE DRAWS]
//
// Seconds of the forward pass over FUTURE positions after PROMPT ones (logits of every position), of the same with the
// residual stream kept and DRAWS gradients taken back, medians of turns, and their ratio, which is to stay below
// DRAWS + 2. Threads as many as the machine has, or EVICTLAB_THREADS; of one thread it is processor time.

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "core/parallel.hpp"
#include "runtime/gradients.hpp"
#include "runtime/transformer.hpp"

namespace {

using namespace evictlab;
using runtime::Index;

constexpr int kTurns = 3;

double now() {
  timespec time = {};
  clock_gettime(core::threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: evictlab_gradients_bench MODEL [PROMPT FUTURE DRAWS]\n";
    return 2;
  }
  if (const char* threads = std::getenv("EVICTLAB_THREADS")) core::set_threads(std::stoul(threads));
  const auto number = [&](int index, Index otherwise) { return argc > index ? std::stol(argv[index]) : otherwise; };
  const Index prompt = number(2, 1024);
  const Index future = number(3, 64);
  const Index draws = number(4, 8);
  const runtime::Transformer model(argv[1]);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(prompt + future));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(model.config().vocab_size));
  }
  runtime::KvCache cache = model.make_cache(prompt + future);
  model.forward(std::span(tokens).first(static_cast<std::size_t>(prompt)), cache);
  std::vector<Index> layers(static_cast<std::size_t>(model.config().layers));
  std::iota(layers.begin(), layers.end(), Index{0});

  std::vector<double> forward;
  std::vector<double> both;
  for (int turn = 0; turn <= kTurns; ++turn) {
    const auto chunk = std::span(tokens).subspan(static_cast<std::size_t>(prompt));
    cache.truncate(prompt);
    double start = now();
    model.forward_all(chunk, cache);
    const double alone = now() - start;
    cache.truncate(prompt);
    start = now();
    runtime::StreamStates states;
    model.forward(chunk, cache, &states);
    runtime::attention_output_gradients(model, cache, states, draws, layers, runtime::random_sign_gradient("bench"),
                                        [](Index, const runtime::RowMatrix&) {});
    if (turn == 0) continue;  // reads the weights from the disk
    forward.push_back(alone);
    both.push_back(now() - start);
  }
  std::cout << fmt::format("forward {:.3f} s, with {} draws {:.3f} s: {:.2f} forward passes, {} allowed\n",
                           median(forward), draws, median(both), median(both) / median(forward), draws + 2);
}
