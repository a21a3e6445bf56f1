// Products with stored weights, beside what the machine can do: evictlab_products_bench [MODEL TOKENS]
//
//   read, token    the weights of a 1B-shaped model (16 layers, hidden size 2048, MLP 8192, 32 query and 8 kv heads of
//   64,
//                  vocabulary 32000) read once, and all products of one decoded token with them, in turns; per type
//   peak, product  fused multiply-adds of the widest vectors in registers, and 1024 rows of x times [8192, 2048]
//   vocabulary     what follows the last product of a token over 150,000 ids: greedy choice, a draw, a divergence;
//   beside that product model          prefill of TOKENS tokens and decoding after it, of a model directory or GGUF
//   file; reading its file
//
// Medians of the turns and the ratio; threads as many as the machine has, or EVICTLAB_THREADS. Of one thread it is
// processor time, which other programs disturb less.

#include <fmt/format.h>
#include <immintrin.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <random>
#include <vector>

#include "core/cpu.hpp"
#include "core/file.hpp"
#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "runtime/linear.hpp"
#include "runtime/live/next_token.hpp"
#include "runtime/sampling.hpp"
#include "runtime/transformer.hpp"

namespace {

using namespace evictlab;
using runtime::Index;
using runtime::RowMatrix;

constexpr int kTurns = 7;

double now() {
  timespec time = {};
  clock_gettime(core::threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds(const std::function<void()>& body) {
  const double start = now();
  body();
  return now() - start;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Two ways in turns: their medians.
struct Turns {
  double first = 0;
  double second = 0;
};

Turns in_turns(const std::function<void()>& one, const std::function<void()>& other) {
  std::vector<double> first;
  std::vector<double> second;
  one();
  other();
  for (int turn = 0; turn < kTurns; ++turn) {
    first.push_back(seconds(one));
    second.push_back(seconds(other));
  }
  return {median(first), median(second)};
}

/// Reads every byte, as many threads as products have.
std::uint64_t read_all(std::span<const std::byte> bytes) {
  constexpr std::size_t kTask = 1 << 20;
  std::vector<std::uint64_t> sums((bytes.size() + kTask - 1) / kTask);
  core::parallel_for(sums.size(), [&](std::size_t task) {
    const std::span<const std::byte> part = bytes.subspan(task * kTask, std::min(kTask, bytes.size() - task * kTask));
    using Words = std::uint64_t __attribute__((vector_size(32)));
    Words lanes[4] = {};
    for (std::size_t i = 0; i + sizeof(lanes) <= part.size(); i += sizeof(lanes)) {
      for (std::size_t lane = 0; lane < 4; ++lane) {
        Words words;
        std::memcpy(&words, part.data() + i + lane * sizeof(Words), sizeof(Words));
        lanes[lane] ^= words;
      }
    }
    for (const Words& lane : lanes) sums[task] ^= lane[0] ^ lane[1] ^ lane[2] ^ lane[3];
  });
  std::uint64_t sum = 0;
  for (const std::uint64_t one : sums) sum ^= one;
  return sum;
}

/// Bytes that are small normal numbers in every type.
std::vector<std::byte> made_weights(core::StorageType type, std::size_t elements) {
  std::vector<std::byte> bytes(core::stored_bytes(type, elements));
  std::mt19937_64 random(1);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(0x30U | (random() & 7U));
  return bytes;
}

struct Shape {
  Index outputs;
  Index inputs;
};

std::vector<Shape> shapes_of_1b() {
  std::vector<Shape> shapes;
  for (int layer = 0; layer < 16; ++layer) {
    for (const Shape shape : {Shape{2048, 2048}, {512, 2048}, {512, 2048}, {2048, 2048}, {8192, 2048}, {8192, 2048}}) {
      shapes.push_back(shape);
    }
    shapes.push_back({2048, 8192});
  }
  shapes.push_back({32000, 2048});
  return shapes;
}

void token_of_1b(core::StorageType type) {
  std::vector<runtime::Linear> layers;
  std::size_t elements = 0;
  for (const Shape& shape : shapes_of_1b()) elements += static_cast<std::size_t>(shape.outputs * shape.inputs);
  const std::vector<std::byte> stored = made_weights(type, elements);
  std::span<const std::byte> rest = stored;
  for (const Shape& shape : shapes_of_1b()) {
    const std::size_t size = core::stored_bytes(type, static_cast<std::size_t>(shape.outputs * shape.inputs));
    layers.push_back({.weight = {type, rest.first(size), shape.outputs, shape.inputs}, .bias = {}});
    rest = rest.subspan(size);
  }
  const RowMatrix x = RowMatrix::Random(1, 8192);
  RowMatrix y(1, 32000);
  std::uint64_t sum = 0;
  const Turns turns =
      in_turns([&] { sum ^= read_all(stored); },
               [&] {
                 for (const runtime::Linear& linear : layers) {
                   runtime::apply(linear, x.leftCols(linear.weight.columns()), y.leftCols(linear.weight.rows()));
                 }
               });
  std::cout << fmt::format("{:7} read {:8.1f} ms ({:5.1f} GB/s)  token {:8.1f} ms  {:5.2f} x{}\n",
                           core::storage_layout(type).name, turns.first * 1e3,
                           static_cast<double>(stored.size()) / turns.first * 1e-9, turns.second * 1e3,
                           turns.second / turns.first, sum == 1 ? "!" : "");
}

// ---- The most that the machine multiplies

constexpr std::size_t kChains = 12;
constexpr std::size_t kSteps = 1 << 20;

__attribute__((target("avx2,fma"))) float multiply_adds_avx2() {
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_set1_ps(1.0F);
  __m256 factor = _mm256_set1_ps(0.5F);
  for (std::size_t step = 0; step < kSteps; ++step) {
    _Pragma("GCC unroll 16") for (std::size_t i = 0; i < kChains; ++i) {
      sums[i] = _mm256_fmadd_ps(sums[i], factor, factor);
    }
    __asm__ volatile("" : "+x"(factor));
  }
  float total = 0;
  for (const __m256& sum : sums) total += sum[0];
  return total;
}

__attribute__((target("avx512f"))) float multiply_adds_avx512() {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0F);
  __m512 factor = _mm512_set1_ps(0.5F);
  for (std::size_t step = 0; step < kSteps; ++step) {
    _Pragma("GCC unroll 16") for (std::size_t i = 0; i < kChains; ++i) {
      sums[i] = _mm512_fmadd_ps(sums[i], factor, factor);
    }
    __asm__ volatile("" : "+v"(factor));
  }
  float total = 0;
  for (const __m512& sum : sums) total += sum[0];
  return total;
}

void product_beside_peak(core::StorageType type) {
  constexpr Index kTokens = 1024;
  const Shape shape = {8192, 2048};
  const std::vector<std::byte> stored = made_weights(type, static_cast<std::size_t>(shape.outputs * shape.inputs));
  const runtime::Linear linear{.weight = {type, stored, shape.outputs, shape.inputs}, .bias = {}};
  const RowMatrix x = RowMatrix::Random(kTokens, shape.inputs);
  RowMatrix y(kTokens, shape.outputs);
  const bool wide = core::has_avx512();
  std::vector<float> kept(core::threads());
  const Turns turns = in_turns(
      [&] {
        core::parallel_for(kept.size(),
                           [&](std::size_t i) { kept[i] = wide ? multiply_adds_avx512() : multiply_adds_avx2(); });
      },
      [&] { runtime::apply(linear, x, y); });
  const double peak = 2.0 * static_cast<double>(kept.size() * kSteps * kChains * (wide ? 16 : 8)) / turns.first;
  const double product = 2.0 * static_cast<double>(kTokens * shape.outputs * shape.inputs) / turns.second;
  std::cout << fmt::format("{:7} peak {:7.1f} GFLOP/s{}  product {:7.1f} GFLOP/s  {:5.1f} %\n",
                           core::storage_layout(type).name, peak * 1e-9, kept[0] == 0.5F ? "!" : "", product * 1e-9,
                           100 * product / peak);
}

void vocabulary() {
  constexpr Index kIds = 150000;
  constexpr Index kHidden = 2048;
  const std::vector<std::byte> stored =
      made_weights(core::StorageType::kBFloat16, static_cast<std::size_t>(kIds * kHidden));
  const runtime::Linear head{.weight = {core::StorageType::kBFloat16, stored, kIds, kHidden}, .bias = {}};
  const RowMatrix x = RowMatrix::Random(1, kHidden);
  RowMatrix y(1, kIds);
  const RowMatrix full = RowMatrix::Random(1, kIds) * 4;
  const RowMatrix evicted = full + RowMatrix::Random(1, kIds);
  const std::span<const float> reference(full.data(), static_cast<std::size_t>(kIds));
  const std::span<const float> logits(evicted.data(), static_cast<std::size_t>(kIds));
  double sum = 0;
  runtime::Sampler sampler({.temperature = 1.0, .top_k = 0, .top_p = 0.9, .seed = 1});
  const Turns product_greedy =
      in_turns([&] { runtime::apply(head, x, y); }, [&] { sum += runtime::greedy_token(logits); });
  const Turns divergence_draw =
      in_turns([&] { sum += runtime::kl_divergence(reference, logits); }, [&] { sum += sampler.next(logits); });
  std::cout << fmt::format(
      "150,000 ids: product {:.2f} ms{}  greedy {:.3f} ms  divergence {:.3f} ms  draw (top-p 0.9) {:.3f} ms\n",
      product_greedy.first * 1e3, sum == 0.5 ? "!" : "", product_greedy.second * 1e3, divergence_draw.first * 1e3,
      divergence_draw.second * 1e3);
}

void model(const std::filesystem::path& path, Index tokens) {
  constexpr Index kDecoded = 32;
  const runtime::Transformer model(path);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>((i * 7919 + 13) % static_cast<std::size_t>(model.config().vocab_size));
  }
  runtime::KvCache filled = model.make_cache(tokens + kDecoded);
  model.forward(ids, filled);
  const Turns turns = in_turns(
      [&] {
        runtime::KvCache cache = model.make_cache(tokens);
        model.forward(ids, cache);
      },
      [&] {
        for (Index step = 0; step < kDecoded; ++step) {
          model.forward(std::span(ids).subspan(static_cast<std::size_t>(step), 1), filled);
        }
        filled.truncate(tokens);
      });
  std::cout << fmt::format("{}: prefill {:.1f} ms ({:.0f} tokens/s)  decode {:.2f} ms ({:.1f} tokens/s)", path.string(),
                           turns.first * 1e3, static_cast<double>(tokens) / turns.first,
                           turns.second / static_cast<double>(kDecoded) * 1e3,
                           static_cast<double>(kDecoded) / turns.second);
  if (std::filesystem::is_regular_file(path)) {
    const core::MappedFile file(path);
    std::uint64_t sum = 0;
    const Turns reading = in_turns([&] { sum ^= read_all(file.bytes()); }, [] {});
    std::cout << fmt::format("  reading its file {:.2f} ms{}", reading.first * 1e3, sum == 1 ? "!" : "");
  }
  std::cout << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 1 && argc != 3) {
    std::cerr << "usage: evictlab_products_bench [MODEL TOKENS]\n";
    return 2;
  }
  core::keep_freed_memory();
  if (const char* threads = std::getenv("EVICTLAB_THREADS")) core::set_threads(std::strtoul(threads, nullptr, 10));
  if (argc == 3) {
    model(argv[1], std::atol(argv[2]));
    return 0;
  }
  using core::StorageType;
  for (const StorageType type : {StorageType::kFloat32, StorageType::kBFloat16, StorageType::kQ4_1}) {
    product_beside_peak(type);
  }
  for (const StorageType type : {StorageType::kBFloat16, StorageType::kFloat16, StorageType::kQ8_0, StorageType::kQ4_0,
                                 StorageType::kQ4_1, StorageType::kQ4_K, StorageType::kQ6_K}) {
    token_of_1b(type);
  }
  vocabulary();
  return 0;
}
