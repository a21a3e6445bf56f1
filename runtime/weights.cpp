#include "runtime/weights.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/half.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {
namespace {

template <typename Stored>
void convert(std::span<const std::byte> bytes, std::span<float> out) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(Stored) == 0;
  if (aligned) {
    core::to_float(std::span(reinterpret_cast<const Stored*>(bytes.data()), out.size()), out);
    return;
  }
  std::vector<Stored> copy(out.size());
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  core::to_float(std::span<const Stored>(copy), out);
}

}  // namespace

WeightType weight_type(const core::StoredTensor& tensor, const std::string& where) {
  if (tensor.dtype == "F32") return WeightType::kFloat32;
  if (tensor.dtype == "F16") return WeightType::kFloat16;
  if (tensor.dtype == "BF16") return WeightType::kBFloat16;
  throw ModelError("{}: tensor '{}' has dtype {}, supported are F32, F16, BF16", where, tensor.name, tensor.dtype);
}

WeightMatrix::WeightMatrix(WeightType type, std::span<const std::byte> bytes, Index rows, Index columns)
    : type_(type), bytes_(bytes), rows_(rows), columns_(columns), block_(rows), stride_(rows) {}

WeightMatrix WeightMatrix::interleaved(Index first, Index block, Index stride, Index count) const {
  WeightMatrix part = *this;
  part.rows_ = block * count;
  part.first_ = first;
  part.block_ = block;
  part.stride_ = stride;
  return part;
}

void WeightMatrix::copy_rows(Index first, std::span<float> out) const {
  const Index end = first + static_cast<Index>(out.size()) / columns_;
  for (Index row = first; row < end;) {
    const Index run = std::min(end - row, block_ - row % block_);
    copy_stored(
        first_ + row / block_ * stride_ + row % block_,
        out.subspan(static_cast<std::size_t>((row - first) * columns_), static_cast<std::size_t>(run * columns_)));
    row += run;
  }
}

void WeightMatrix::copy_stored(Index first, std::span<float> out) const {
  const std::size_t element = type_ == WeightType::kFloat32 ? sizeof(float) : sizeof(core::Half);
  const auto part = bytes_.subspan(static_cast<std::size_t>(first * columns_) * element, out.size() * element);
  switch (type_) {
    case WeightType::kFloat32:
      std::memcpy(out.data(), part.data(), part.size());
      break;
    case WeightType::kFloat16:
      convert<core::Half>(part, out);
      break;
    case WeightType::kBFloat16:
      convert<core::BFloat16>(part, out);
      break;
  }
}

}  // namespace evictlab::runtime
