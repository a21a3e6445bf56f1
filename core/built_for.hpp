#pragma once

namespace evictlab::core {

/// The instruction sets the compiler was allowed to use for this build. Constants in a file of their
/// own, because cpu.cpp, which reads them, is compiled for the oldest machine.
struct BuiltFor {
  bool sse42 = false;
  bool popcnt = false;
  bool avx = false;
  bool f16c = false;
  bool fma = false;
  bool avx2 = false;
  bool bmi = false;
  bool bmi2 = false;
  bool lzcnt = false;
  bool movbe = false;
  bool avx512 = false;
};
extern const BuiltFor kBuiltFor;

}  // namespace evictlab::core
