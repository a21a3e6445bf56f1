#include "core/cpu.hpp"

#include <cpuid.h>

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

/// What __builtin_cpu_supports does not know in every compiler: bit `bit` of ECX of a CPUID leaf.
bool has_ecx_bit(unsigned leaf, unsigned bit) {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(leaf, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> bit & 1U) != 0;
}

}  // namespace

std::string missing_cpu_features() {
  __builtin_cpu_init();
  std::string missing;
  add_if_missing(missing, kBuiltFor.sse42, __builtin_cpu_supports("sse4.2") != 0, "SSE4.2");
  add_if_missing(missing, kBuiltFor.popcnt, __builtin_cpu_supports("popcnt") != 0, "POPCNT");
  add_if_missing(missing, kBuiltFor.avx, __builtin_cpu_supports("avx") != 0, "AVX");
  add_if_missing(missing, kBuiltFor.f16c, has_f16c(), "F16C");
  add_if_missing(missing, kBuiltFor.fma, __builtin_cpu_supports("fma") != 0, "FMA");
  add_if_missing(missing, kBuiltFor.avx2, __builtin_cpu_supports("avx2") != 0, "AVX2");
  add_if_missing(missing, kBuiltFor.bmi, __builtin_cpu_supports("bmi") != 0, "BMI1");
  add_if_missing(missing, kBuiltFor.bmi2, __builtin_cpu_supports("bmi2") != 0, "BMI2");
  add_if_missing(missing, kBuiltFor.lzcnt, has_ecx_bit(0x80000001, 5), "LZCNT");
  add_if_missing(missing, kBuiltFor.movbe, has_ecx_bit(1, 22), "MOVBE");
  add_if_missing(missing, kBuiltFor.avx512, has_avx512(), "AVX-512");
  if (missing.empty()) return missing;
  return "this program was built for processors with " + missing +
         ", which this machine lacks; build the 'portable' preset instead";
}

bool has_f16c() { return has_ecx_bit(1, 29); }

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0;
}

}  // namespace evictlab::core
