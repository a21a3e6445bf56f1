#pragma once

#include <filesystem>
#include <memory>

#include "lab/observer.hpp"
#include "runtime/tokenizer/text_tokenizer.hpp"
#include "runtime/transformer.hpp"

namespace evictlab::lab {

/// A model's tokenizer, read when it is first used: prompts of token ids need none.
class ModelTokenizer {
 public:
  explicit ModelTokenizer(std::filesystem::path model) : model_(std::move(model)) {}

  const runtime::TextTokenizer& get() const;
  const std::filesystem::path& model() const { return model_; }

 private:
  std::filesystem::path model_;
  mutable std::unique_ptr<runtime::TextTokenizer> tokenizer_;
};

/// Opens a model. Reports, once, the tensors of its checkpoint that it does without. Throws core::InputError.
runtime::Transformer open_model(const std::filesystem::path& model, Observer& observer);

}  // namespace evictlab::lab
