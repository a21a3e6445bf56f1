#include "core/built_for.hpp"

namespace evictlab::core {

// Constant-initialised: nothing of this file runs before main().
constinit const BuiltFor kBuiltFor = {
#ifdef __SSE4_2__
    .sse42 = true,
#endif
#ifdef __POPCNT__
    .popcnt = true,
#endif
#ifdef __AVX__
    .avx = true,
#endif
#ifdef __F16C__
    .f16c = true,
#endif
#ifdef __FMA__
    .fma = true,
#endif
#ifdef __AVX2__
    .avx2 = true,
#endif
#ifdef __BMI__
    .bmi = true,
#endif
#ifdef __BMI2__
    .bmi2 = true,
#endif
#ifdef __LZCNT__
    .lzcnt = true,
#endif
#ifdef __MOVBE__
    .movbe = true,
#endif
#ifdef __AVX512F__
    .avx512 = true,
#endif
};

}  // namespace evictlab::core
