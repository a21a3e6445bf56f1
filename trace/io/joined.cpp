#include "trace/io/joined.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trace/io/layout.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::trace {
namespace {

namespace fs = std::filesystem;

class JoinedTraces final : public Source {
 public:
  explicit JoinedTraces(std::span<const fs::path> paths) {
    std::map<std::string, fs::path> seen;
    for (const fs::path& path : paths) {
      auto reader = std::make_unique<const TraceReader>(path);
      if (!readers_.empty()) {
        const std::string difference = layout::model_difference(readers_.front()->model(), reader->model());
        if (!difference.empty()) {
          throw TraceError("{}: recorded with another model than {}: {}", path.string(), paths.front().string(),
                           difference);
        }
      }
      for (std::size_t i = 0; i < reader->prompts().size(); ++i) {
        const std::string& id = reader->prompts()[i].id;
        if (const auto [other, fresh] = seen.emplace(id, path); !fresh) {
          throw TraceError("{}: prompt '{}' is also in {}; give them one by one", path.string(), id,
                           other->second.string());
        }
        places_.emplace_back(reader.get(), static_cast<Index>(i));
        infos_.push_back(reader->prompts()[i]);
      }
      readers_.push_back(std::move(reader));
    }
  }

  const ModelInfo& model() const override { return readers_.front()->model(); }
  const std::vector<PromptInfo>& prompts() const override { return infos_; }
  std::vector<std::int32_t> tokens(Index prompt) const override {
    const auto& [reader, index] = places_.at(static_cast<std::size_t>(prompt));
    return reader->tokens(index);
  }
  LayerData layer(Index prompt, Index layer, Fields fields) const override {
    const auto& [reader, index] = places_.at(static_cast<std::size_t>(prompt));
    return reader->layer(index, layer, fields);
  }
  // The weights' fingerprint is the same, so any trace that has them will do.
  RowMatrix output_weight(Index layer) const override {
    const auto has_weights = [](const auto& reader) {
      return std::ranges::any_of(reader->prompts(), [](const PromptInfo& info) { return info.tier == Tier::kFull; });
    };
    const auto found = std::ranges::find_if(readers_, has_weights);
    return (found == readers_.end() ? readers_.front() : *found)->output_weight(layer);
  }

 private:
  std::vector<std::unique_ptr<const TraceReader>> readers_;
  std::vector<std::pair<const TraceReader*, Index>> places_;  // of every prompt
  std::vector<PromptInfo> infos_;
};

}  // namespace

std::unique_ptr<Source> open_traces(std::span<const fs::path> paths) {
  if (paths.empty()) throw TraceError("no trace is given");
  return std::make_unique<JoinedTraces>(paths);
}

}  // namespace evictlab::trace
