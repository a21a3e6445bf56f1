#include "core/cpu.hpp"

#include "core/built_for.hpp"

// Compiled for the oldest x86-64 (see CMakeLists.txt), and without any library's inline functions but
// std::string's: the linker could take those from a file compiled for newer machines.

namespace evictlab::core {
namespace {

void add_if_missing(std::string& missing, bool needed, bool present, const char* name) {
  if (!needed || present) return;
  if (!missing.empty()) missing += ", ";
  missing += name;
}

}  // namespace

std::string missing_cpu_features() {
  __builtin_cpu_init();
  std::string missing;
  add_if_missing(missing, kBuiltFor.sse42, __builtin_cpu_supports("sse4.2") != 0, "SSE4.2");
  add_if_missing(missing, kBuiltFor.popcnt, __builtin_cpu_supports("popcnt") != 0, "POPCNT");
  add_if_missing(missing, kBuiltFor.avx, __builtin_cpu_supports("avx") != 0, "AVX");
  add_if_missing(missing, kBuiltFor.f16c, __builtin_cpu_supports("f16c") != 0, "F16C");
  add_if_missing(missing, kBuiltFor.fma, __builtin_cpu_supports("fma") != 0, "FMA");
  add_if_missing(missing, kBuiltFor.avx2, __builtin_cpu_supports("avx2") != 0, "AVX2");
  add_if_missing(missing, kBuiltFor.bmi, __builtin_cpu_supports("bmi") != 0, "BMI1");
  add_if_missing(missing, kBuiltFor.bmi2, __builtin_cpu_supports("bmi2") != 0, "BMI2");
  add_if_missing(missing, kBuiltFor.lzcnt, __builtin_cpu_supports("lzcnt") != 0, "LZCNT");
  add_if_missing(missing, kBuiltFor.movbe, __builtin_cpu_supports("movbe") != 0, "MOVBE");
  add_if_missing(missing, kBuiltFor.avx512, has_avx512(), "AVX-512");
  if (missing.empty()) return missing;
  return "this program was built for processors with " + missing +
         ", which this machine lacks; build the 'portable' preset instead";
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0;
}

}  // namespace evictlab::core
