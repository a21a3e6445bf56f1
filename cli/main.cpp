#include <cstdio>

#include "cli/commands.hpp"
#include "core/cpu.hpp"

// Compiled for the oldest x86-64 there is, like core/cpu.cpp: the check must run where the rest cannot.
int main(int argc, char** argv) {
  const std::string missing = evictlab::core::missing_cpu_features();
  if (!missing.empty()) {
    std::fprintf(stderr, "evictlab: %s\n", missing.c_str());
    return 2;
  }
  return evictlab::cli::run(argc, argv);
}
