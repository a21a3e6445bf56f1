#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lab/observer.hpp"

namespace evictlab::lab {

struct PlotOptions {
  std::filesystem::path results = {};  // a directory with result tables, or a replay table
  std::filesystem::path out = {};      // the directory of the figures
  bool force = false;                  // replace existing figures
};

struct PlotOutcome {
  std::vector<std::filesystem::path> files;  // the figures, as PNG, SVG and PDF
};

/// Draws every figure that the tables give. Throws core::InputError, core::Interrupted.
PlotOutcome plot(const PlotOptions& options, Observer& observer);

}  // namespace evictlab::lab
