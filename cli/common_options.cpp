#include "cli/common_options.hpp"

#include "core/parallel.hpp"
#include "runtime/recorder.hpp"

namespace evictlab::cli {

void declare_threads(Options& options) { options.value("threads", "N", "0", "threads to use; 0 = all"); }

void use_threads(const Options& options) {
  core::set_threads(static_cast<std::size_t>(options.integer("threads", 0, 4096)));
}

void declare_tier_and_dtype(Options& options, const std::string& default_tier, const std::string& default_dtype) {
  options.value("tier", "summary|full", default_tier,
                "summary: attention rows and masses; full: also queries, keys and values, for exact losses");
  options.value("dtype", "TYPE", default_dtype, "of recorded queries, keys and values: float16 or float32");
}

trace::Tier tier_of(const Options& options) {
  return options.choice("tier", {"summary", "full"}) == "full" ? trace::Tier::kFull : trace::Tier::kSummary;
}

trace::ElementType dtype_of(const Options& options) {
  if (options.has("tier") && tier_of(options) == trace::Tier::kSummary) {
    options.refuse("dtype", "is of queries, keys and values, which only --tier full records");
  }
  return options.choice("dtype", {"float16", "float32"}) == "float16" ? trace::ElementType::kFloat16
                                                                      : trace::ElementType::kFloat32;
}

void declare_gradients(Options& options, const std::string& help) {
  options.value("gradients", "R", "0", help, std::to_string(runtime::kGradientDraws));
}

trace::Index gradients_of(const Options& options) { return options.integer("gradients", 0, trace::kMaxGradientDraws); }

}  // namespace evictlab::cli
