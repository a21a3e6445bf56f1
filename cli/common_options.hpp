#pragma once

#include <string>

#include "cli/options.hpp"
#include "trace/model.hpp"

// Options that several subcommands have, declared and read alike.

namespace evictlab::cli {

/// --threads N
void declare_threads(Options& options);
/// Makes the program use as many threads as --threads says.
void use_threads(const Options& options);

/// --tier and --dtype: what a trace is to hold.
void declare_tier_and_dtype(Options& options, const std::string& default_tier, const std::string& default_dtype);
trace::Tier tier_of(const Options& options);
trace::ElementType dtype_of(const Options& options);

/// --gradients [R]: draws of gradients; 0 without it.
void declare_gradients(Options& options, const std::string& help);
trace::Index gradients_of(const Options& options);

}  // namespace evictlab::cli
