#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "../runtime/random_model.hpp"
#include "lab/prompt_sources.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::lab {

inline constexpr int kPrompts = 3;
inline constexpr int kPositions = 80;
inline constexpr int kAnswer = 4;

/// A model of two layers and prompts of token ids for it, in a directory of their own.
class SmallModel {
 public:
  SmallModel() {
    const testing::RandomModel model{.layers = 2};
    testing::write_random_model(path(), model);
    std::string lines;
    for (int i = 0; i < kPrompts; ++i) {
      const auto tokens = testing::random_tokens(kPositions + kAnswer, model.vocabulary, 10 + static_cast<unsigned>(i));
      const nlohmann::json line = {{"id", "prompt-" + std::to_string(i)},
                                   {"task", "copy"},
                                   {"tokens", std::vector(tokens.begin(), tokens.begin() + kPositions)},
                                   {"answer_tokens", std::vector(tokens.begin() + kPositions, tokens.end())}};
      lines += line.dump() + "\n";
    }
    testing::write_file(folder("prompts.jsonl"), lines);
  }

  std::filesystem::path path() const { return directory_.path() / "model"; }
  std::filesystem::path folder(const std::string& name) const { return directory_.path() / name; }
  PromptRequest prompts() const { return {.files = {folder("prompts.jsonl")}}; }

 private:
  testing::TemporaryDirectory directory_;
};

}  // namespace evictlab::lab
