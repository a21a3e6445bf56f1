#include "trace/tensor.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

namespace evictlab::trace {
namespace {

// Element [h, r, c] = 100 h + 10 r + c.
Tensor numbered(ElementType type, float scale = 1.0F) {
  Tensor tensor(type, 2, 3, 4, scale);
  for (Index h = 0; h < 2; ++h) {
    for (Index r = 0; r < 3; ++r) {
      std::array<float, 4> row{};
      for (std::size_t c = 0; c < 4; ++c) row[c] = static_cast<float>(100 * h + 10 * r) + static_cast<float>(c);
      tensor.set_row(h, r, row);
    }
  }
  return tensor;
}

TEST(Tensor, IsRowMajorWithTheHeadOutermost) {
  const Tensor tensor = numbered(ElementType::kFloat32);
  EXPECT_EQ(tensor.floats()[0], 0.0F);
  EXPECT_EQ(tensor.floats()[3], 3.0F);
  EXPECT_EQ(tensor.floats()[4], 10.0F);
  EXPECT_EQ(tensor.floats()[12], 100.0F);
  EXPECT_EQ(tensor.bytes().size(), 2U * 3 * 4 * 4);
}

TEST(Tensor, PartsOfAViewKeepTheirPlaceInTheWhole) {
  for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat16}) {
    const Tensor tensor = numbered(type);
    const TensorView part = tensor.view().row_range(1, 2).column_range(2, 2);
    EXPECT_EQ(part.heads(), 2);
    EXPECT_EQ(part.rows(), 2);
    EXPECT_EQ(part.columns(), 2);
    const RowMatrix head = part.copy_head(1);
    EXPECT_EQ(head(0, 0), 112.0F);
    EXPECT_EQ(head(0, 1), 113.0F);
    EXPECT_EQ(head(1, 0), 122.0F);
    EXPECT_EQ(head(1, 1), 123.0F);
  }
}

TEST(Tensor, HalvesAreStoredTimesTheScaleAndReadDividedByIt) {
  Tensor tensor(ElementType::kFloat16, 1, 1, 2, 32768.0F);
  // 2^-20 is below half's normal range (2^-14) and exact only through the scale: 2^-20 * 2^15 = 2^-5.
  tensor.set_row(0, 0, std::array{0x1.8p-20F, 1.0F});
  EXPECT_EQ(core::to_float(tensor.halves()[0]), 0x1.8p-5F);
  EXPECT_EQ(core::to_float(tensor.halves()[1]), 32768.0F);
  std::array<float, 2> row{};
  tensor.view().copy_row(0, 0, row);
  EXPECT_EQ(row[0], 0x1.8p-20F);
  EXPECT_EQ(row[1], 1.0F);
}

TEST(Tensor, RowsInPlaceAreTheStoredOnes) {
  const Tensor floats = numbered(ElementType::kFloat32);
  EXPECT_EQ(floats.view().row_range(2, 1).float_row(1, 0)[3], 123.0F);
  const Tensor halves = numbered(ElementType::kFloat16, 2.0F);
  EXPECT_EQ(core::to_float(halves.view().half_row(0, 1)[1]), 22.0F);
}

TEST(Tensor, AFloatTensorHasNoScale) {
  EXPECT_THROW(Tensor(ElementType::kFloat32, 1, 1, 1, 2.0F), std::invalid_argument);
}

TEST(Tensor, BorrowedElementsAreReadInPlaceAndKeptAliveByEveryCopy) {
  for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat16}) {
    const float scale = type == ElementType::kFloat16 ? 2.0F : 1.0F;
    auto owner = std::make_shared<const Tensor>(numbered(type, scale));
    const std::weak_ptr<const Tensor> alive = owner;
    std::optional<Tensor> copy;
    {
      const Tensor borrowed(type, owner->bytes(), owner, 2, 3, 4, scale);
      copy = borrowed;
      EXPECT_EQ(borrowed.bytes().data(), owner->bytes().data());
    }
    owner.reset();
    ASSERT_FALSE(alive.expired());
    EXPECT_TRUE(copy->is_borrowed());
    EXPECT_EQ(copy->element_type(), type);
    EXPECT_EQ(copy->view().copy_head(1), numbered(type, scale).view().copy_head(1));
    copy.reset();
    EXPECT_TRUE(alive.expired());
  }
}

TEST(Tensor, BorrowedElementsCannotBeChanged) {
  const auto owner = std::make_shared<const Tensor>(numbered(ElementType::kFloat32));
  Tensor borrowed(ElementType::kFloat32, owner->bytes(), owner, 2, 3, 4);
  EXPECT_THROW(borrowed.floats(), std::logic_error);
  EXPECT_THROW(borrowed.bytes(), std::logic_error);
  EXPECT_THROW(borrowed.set_row(0, 0, std::array<float, 4>{}), std::logic_error);
  EXPECT_EQ(std::as_const(borrowed).floats()[4], 10.0F);
}

TEST(Tensor, BorrowedElementsFitTheirShapeAndAlignment) {
  const auto owner = std::make_shared<const Tensor>(numbered(ElementType::kFloat32));
  EXPECT_THROW(Tensor(ElementType::kFloat32, owner->bytes(), owner, 2, 3, 5), std::invalid_argument);
  EXPECT_THROW(Tensor(ElementType::kFloat32, owner->bytes().subspan(2, 4), owner, 1, 1, 1), std::invalid_argument);
  EXPECT_NO_THROW(Tensor(ElementType::kFloat16, owner->bytes().subspan(2, 4), owner, 1, 1, 2));
}

TEST(Tensor, NothingIsEmpty) {
  EXPECT_TRUE(TensorView().empty());
  EXPECT_TRUE(Tensor().empty());
  EXPECT_TRUE(Tensor(ElementType::kFloat32, 2, 0, 3).view().empty());
  EXPECT_FALSE(numbered(ElementType::kFloat16).view().empty());
}

}  // namespace
}  // namespace evictlab::trace
