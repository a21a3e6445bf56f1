// Half precision to float and back, per implementation. Bytes are those read plus those written: what
// the memory moves. 64 KiB of halves stay in the second-level cache, 64 MiB do not.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/half_kernels.hpp"

namespace {

using evictlab::core::Half;
using evictlab::core::HalfKernels;

void count_bytes(benchmark::State& state, std::size_t elements) {
  const auto bytes = static_cast<std::int64_t>(elements * (sizeof(Half) + sizeof(float)));
  state.SetBytesProcessed(state.iterations() * bytes);
}

void to_float(benchmark::State& state, const HalfKernels& kernels) {
  const std::vector<Half> in(static_cast<std::size_t>(state.range(0)), Half{0x1234});
  std::vector<float> out(in.size());
  for (auto _ : state) {
    kernels.to_float(in, out, 0x1p-15F);
    benchmark::ClobberMemory();
  }
  count_bytes(state, in.size());
}

void to_half(benchmark::State& state, const HalfKernels& kernels) {
  const std::vector<float> in(static_cast<std::size_t>(state.range(0)), 0.01F);
  std::vector<Half> out(in.size());
  for (auto _ : state) {
    kernels.to_half(in, out, 32768.0F);
    benchmark::ClobberMemory();
  }
  count_bytes(state, in.size());
}

const bool kRegistered = [] {
  for (const HalfKernels& kernels : evictlab::core::half_kernels()) {
    if (!kernels.supported) continue;
    const std::string name = kernels.name;
    for (const auto elements : {std::int64_t{32} << 10, std::int64_t{32} << 20}) {
      benchmark::RegisterBenchmark(("to_float/" + name).c_str(), to_float, kernels)->Arg(elements);
      benchmark::RegisterBenchmark(("to_half/" + name).c_str(), to_half, kernels)->Arg(elements);
    }
  }
  return true;
}();

}  // namespace
