#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/safetensors.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

using trace::Index;

enum class WeightType { kFloat32, kFloat16, kBFloat16 };

/// The type of a tensor that can be a weight. Throws ModelError naming any other; `where` names its model.
WeightType weight_type(const StoredTensor& tensor, const std::string& where);

/// A weight [rows, columns] as it is stored, in memory that belongs to someone else.
class WeightMatrix {
 public:
  WeightMatrix() = default;
  /// `bytes` holds rows * columns elements, row-major, at any alignment.
  WeightMatrix(WeightType type, std::span<const std::byte> bytes, Index rows, Index columns);

  WeightType type() const { return type_; }
  Index rows() const { return rows_; }
  Index columns() const { return columns_; }

  /// Rows from `first` on as floats, as many as `out` has room for: a multiple of columns() elements.
  void copy_rows(Index first, std::span<float> out) const;

 private:
  WeightType type_ = WeightType::kFloat32;
  std::span<const std::byte> bytes_;
  Index rows_ = 0;
  Index columns_ = 0;
};

}  // namespace evictlab::runtime
