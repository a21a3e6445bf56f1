#pragma once

namespace evictlab::core {

/// The program's version, "major.minor.patch", from CMakeLists.txt.
const char* version();

}  // namespace evictlab::core
