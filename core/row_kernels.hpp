#pragma once

#include <cstddef>
#include <span>

#include "core/half.hpp"

// Sums down the columns of a few stored rows, such as the attention of the last queries of a prompt, at nearly the
// speed of reading them. The value of an element is stored * factor, in the formulas below A[r, j].

namespace evictlab::core {

/// Rows as they are stored, as Half or float: row r is the `columns` elements from first + r * stride on.
template <typename Element>
struct StoredRows {
  const Element* first = nullptr;
  std::size_t stride = 0;  // elements
  std::size_t rows = 0;
  std::size_t columns = 0;
};

/// sums[j] += sum over r of A[r, j], in double in the order of the rows: exact for halves whose factor is a power of 2.
/// `sums` has `columns` elements.
void add_column_sums(const StoredRows<Half>& rows, double factor, std::span<double> sums);
void add_column_sums(const StoredRows<float>& rows, double factor, std::span<double> sums);

/// means[j] and variances[j] of column j, the variance with divisor rows - 1 (0 of one row). Taken from deviations from
/// the first row, in double and in the order of the rows: no digits are lost to a large mean, and a column that never
/// changes has exactly 0 variance. At least one row; `means` and `variances` have `columns` elements.
void column_moments(const StoredRows<Half>& rows, double factor, std::span<double> means, std::span<double> variances);
void column_moments(const StoredRows<float>& rows, double factor, std::span<double> means, std::span<double> variances);

/// sums[j] += sum over r of A[r, j] ln(A[r, j] + offset). Terms in float, natural_logarithm for ln; four successive
/// rows are added in float, then to the sum in double. A >= 0, offset >= 2^-126, A + offset finite.
void add_column_logarithms(const StoredRows<Half>& rows, float factor, float offset, std::span<double> sums);
void add_column_logarithms(const StoredRows<float>& rows, float factor, float offset, std::span<double> sums);

/// ln(value) of a normal, positive, finite value; the error is at most 2^-22 max(1, |ln(value)|).
float natural_logarithm(float value);

/// One implementation for at most kColumnsAtOnce columns. All of them give the same bits.
inline constexpr std::size_t kColumnsAtOnce = 2048;
template <typename Element>
struct RowKernels {
  const char* name;
  bool supported;  // by this machine: calling one that is not is an illegal instruction
  /// sums[j] += sum over r of stored[r, j].
  void (*sums)(const StoredRows<Element>& rows, double* sums);
  /// sums[j] += sum over r of d[r, j] = stored[r, j] - stored[0, j], squares[j] += sum over r of d[r, j]^2.
  void (*deviations)(const StoredRows<Element>& rows, double* sums, double* squares);
  /// As add_column_logarithms.
  void (*logarithms)(const StoredRows<Element>& rows, float factor, float offset, double* sums);
};

/// Every implementation, the fastest first; the last one is portable and always supported. Element: Half or float.
template <typename Element>
std::span<const RowKernels<Element>> row_kernels();

}  // namespace evictlab::core
