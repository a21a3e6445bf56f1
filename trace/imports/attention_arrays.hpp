#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "trace/model.hpp"

namespace evictlab::trace {

/// Attention probabilities of one prompt in a file: [L, H, rows, positions], or with a batch axis of one, [L, 1, H,
/// rows, positions], of half, bfloat16, float or double. A .npy file holds just that; a .safetensors file the tensor
/// "attention" or one per layer ("attention.0", "attention.1", ... of [H, rows, positions] or [1, H, ...]), and may
/// hold "output_norms" [L, H, positions] and "tokens" [positions].
class AttentionArrays {
 public:
  /// Throws TraceError (InputError if it cannot be opened) in one line naming the file.
  explicit AttentionArrays(const std::filesystem::path& path);
  ~AttentionArrays();
  AttentionArrays(AttentionArrays&&) noexcept;

  Index layers() const;
  Index query_heads() const;
  Index rows() const;       // queries, the last ones
  Index positions() const;  // keys

  /// The probabilities of one query; `out` has positions() elements. Thread-safe.
  void copy_row(Index layer, Index head, Index row, std::span<double> out) const;
  /// [H, positions] of one layer; nothing when the file has none.
  std::vector<float> output_norms(Index layer) const;
  /// [positions]; nothing when the file has none.
  std::vector<std::int32_t> tokens() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace evictlab::trace
