// Products of a tile of rows with packed weights. A sum runs over k in ascending order from 0, whatever the place of
// its row in the tile and of its column in a panel; whoever reads it adds the bias.
#pragma once

#if defined(__CUDACC__)
#include <mma.h>
#endif

#include <cmath>
#include <cstdint>

#include "common/scalar.h"
#include "cuda/chunk.cuh"

namespace reluxfast {
namespace cuda {

// Threads of a block, and blocks that a multiprocessor has registers for.
constexpr int kMlpThreads = 64, kMlpBlocks = 8;
// Rows of a tile, and the depth of it and of a panel that is in shared memory at once.
constexpr int kMlpRows = 32, kMlpDepth = 16;
// Columns of a panel: as many as leave registers for their sums.
template <class T>
constexpr int kMlpColumns = 256 / sizeof(T);
// Threads that have the same row, and what each of them brings of its kMlpDepth operands.
constexpr int kMlpParts = kMlpThreads / kMlpRows, kMlpShare = kMlpDepth / kMlpParts;
// Columns that a thread sums for its row alone where a panel would mostly be padding.
constexpr int kMlpNarrow = 4;

RF_INLINE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
RF_INLINE double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// A comparison with NaN is false, so NaN stays NaN.
template <class T>
RF_INLINE T relu(T z) {
  return scalar::select(z < T(0), T(0), z);
}

RF_INLINE int64_t whole(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// A weight transposed, zero beyond its size, the bias in the row below it: [depth + 1, columns].
template <class T>
struct MlpLayer {
  T* weight;
  int64_t depth, columns;
  int64_t end;  // columns that are summed at least

  RF_INLINE const T* bias() const { return weight + depth * columns; }

  // Columns that are summed in panels; those behind them are so few that threads sum them for their rows.
  RF_INLINE int64_t wide() const {
    const int64_t panels = end / kMlpColumns<T> * kMlpColumns<T>;
    return end - panels > kMlpColumns<T> / 2 ? panels + kMlpColumns<T> : panels;
  }
};

template <class T>
struct alignas(32) MlpTiles {
  T rows[kMlpDepth][kMlpRows], columns[kMlpDepth][kMlpColumns<T>];
};

// The row of the tile that a thread brings operands of, and which of kMlpParts it is there.
__device__ __forceinline__ int own_row() { return static_cast<int>(threadIdx.x) % kMlpRows; }
__device__ __forceinline__ int own_part() { return static_cast<int>(threadIdx.x) / kMlpRows; }

// A panel's sums, spread over the block's threads, by fused multiplications and additions,
template <class T>
class FusedPanel {
 public:
  __device__ __forceinline__ void add(const MlpTiles<T>& tiles) {
    RF_UNROLL(2)
    for (int k = 0; k < kMlpDepth; ++k) {
      T x[kRows], w[kColumns];
      RF_UNROLL(4)
      for (int i = 0; i < kRows; i += kLanes) take(&tiles.rows[k][place(i, x_thread())], x + i);
      RF_UNROLL(8)
      for (int j = 0; j < kColumns; j += kLanes) take(&tiles.columns[k][place(j, y_thread())], w + j);
      RF_UNROLL(4)
      for (int i = 0; i < kRows; ++i) {
        RF_UNROLL(8)
        for (int j = 0; j < kColumns; ++j) sum_[i][j] = multiply_add(x[i], w[j], sum_[i][j]);
      }
    }
  }

  // Into `to`, [kMlpColumns<T>, kMlpRows].
  __device__ __forceinline__ void store(T* to) const {
    RF_UNROLL(8)
    for (int j = 0; j < kColumns; ++j) {
      T* column = to + (place(j, y_thread()) + j % kLanes) * kMlpRows;
      RF_UNROLL(4)
      for (int i = 0; i < kRows; i += kLanes) {
        Chunk<T, kLanes> chunk;
        RF_UNROLL(4)
        for (int l = 0; l < kLanes; ++l) chunk.lanes[l] = sum_[i + l][j];
        *reinterpret_cast<Chunk<T, kLanes>*>(column + place(i, x_thread())) = chunk;
      }
    }
  }

 private:
  static constexpr int kLanes = kFull<T>, kAcross = 8, kRows = kMlpRows / kAcross, kColumns = kMlpColumns<T> / kAcross;
  static_assert(kAcross * kAcross == kMlpThreads, "a thread for each block of sums");

  static __device__ __forceinline__ int x_thread() { return static_cast<int>(threadIdx.x) % kAcross; }
  static __device__ __forceinline__ int y_thread() { return static_cast<int>(threadIdx.x) / kAcross; }

  // Where the chunk begins that element i of a thread is in: neighbours in shared memory go to neighbouring threads.
  static __device__ __forceinline__ int place(int i, int thread) { return (i / kLanes * kAcross + thread) * kLanes; }

  static __device__ __forceinline__ void take(const T* from, T* to) {
    const Chunk<T, kLanes> chunk = load<T, kLanes>(from);
    RF_UNROLL(4)
    for (int l = 0; l < kLanes; ++l) to[l] = chunk.lanes[l];
  }

  T sum_[kRows][kColumns] = {};
};

// or by tensor cores, operands rounded to TF32: 32 x 32 of them for each of two warps.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
class TensorPanel {
 public:
  __device__ __forceinline__ TensorPanel() {
    RF_UNROLL(2)
    for (int i = 0; i < kTiles; ++i) {
      RF_UNROLL(2)
      for (int j = 0; j < kTiles; ++j) nvcuda::wmma::fill_fragment(sum_[i][j], 0.0f);
    }
  }

  __device__ __forceinline__ void add(const MlpTiles<float>& tiles) {
    using namespace nvcuda;
    RF_UNROLL(2)
    for (int k = 0; k < kMlpDepth; k += kInner) {
      wmma::fragment<wmma::matrix_a, kSide, kSide, kInner, wmma::precision::tf32, wmma::col_major> x[kTiles];
      wmma::fragment<wmma::matrix_b, kSide, kSide, kInner, wmma::precision::tf32, wmma::row_major> w[kTiles];
      RF_UNROLL(2)
      for (int i = 0; i < kTiles; ++i) {
        wmma::load_matrix_sync(x[i], &tiles.rows[k][i * kSide], kMlpRows);
        wmma::load_matrix_sync(w[i], &tiles.columns[k][column(i)], kMlpColumns<float>);
        round(x[i]);
        round(w[i]);
      }
      RF_UNROLL(2)
      for (int i = 0; i < kTiles; ++i) {
        RF_UNROLL(2)
        for (int j = 0; j < kTiles; ++j) wmma::mma_sync(sum_[i][j], x[i], w[j], sum_[i][j]);
      }
    }
  }

  __device__ __forceinline__ void store(float* to) const {
    RF_UNROLL(2)
    for (int i = 0; i < kTiles; ++i) {
      RF_UNROLL(2)
      for (int j = 0; j < kTiles; ++j) {
        float* corner = to + column(j) * kMlpRows + i * kSide;
        nvcuda::wmma::store_matrix_sync(corner, sum_[i][j], kMlpRows, nvcuda::wmma::mem_col_major);
      }
    }
  }

 private:
  static constexpr int kSide = 16, kInner = 8, kTiles = kMlpRows / kSide;
  static_assert(kMlpThreads / 32 * kMlpRows == kMlpColumns<float>, "a warp for each square of the panel");

  static __device__ __forceinline__ int column(int j) {
    return static_cast<int>(threadIdx.x) / 32 * kMlpRows + j * kSide;
  }

  template <class Fragment>
  static __device__ __forceinline__ void round(Fragment& fragment) {
    RF_UNROLL(8)
    for (int e = 0; e < fragment.num_elements; ++e) fragment.x[e] = nvcuda::wmma::__float_to_tf32(fragment.x[e]);
  }

  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kSide, kSide, kInner, float> sum_[kTiles][kTiles];
};
#else
// Older devices have no TF32.
using TensorPanel = FusedPanel<float>;
#endif

// Columns `column` .. + kMlpColumns<T> - 1 of the product into `out`, [layer.columns, kMlpRows]. source(k) gives
// operands k .. k + kFull<T> - 1 of the thread's own row. What other threads wrote before may be read.
template <class Panel, class T, class Source>
__device__ __forceinline__ void wide_product(MlpTiles<T>& tiles, const MlpLayer<T>& layer, int64_t column, T* out,
                                             const Source& source) {
  // Chunks of a panel's row, and rows that the block reads at once.
  constexpr int kLanes = kFull<T>, kChunks = kMlpColumns<T> / kLanes, kAtOnce = kMlpThreads / kChunks;
  const int row = own_row(), share = own_part() * kMlpShare;
  const int weight_row = static_cast<int>(threadIdx.x) / kChunks, chunk = static_cast<int>(threadIdx.x) % kChunks;
  const T* from = layer.weight + weight_row * layer.columns + column + chunk * kLanes;
  Panel panel;
  RF_UNROLL(1)
  for (int64_t start = 0; start < layer.depth; start += kMlpDepth) {
    // The tiles have been read.
    __syncthreads();
    RF_UNROLL(2)
    for (int k = 0; k < kMlpShare; k += kLanes) {
      const Chunk<T, kLanes> operands = source(start + share + k);
      RF_UNROLL(4)
      for (int l = 0; l < kLanes; ++l) tiles.rows[share + k + l][row] = operands.lanes[l];
    }
    RF_UNROLL(4)
    for (int k = 0; k < kMlpDepth; k += kAtOnce) {
      *reinterpret_cast<Chunk<T, kLanes>*>(&tiles.columns[weight_row + k][chunk * kLanes]) = load<T, kLanes>(from);
      from += kAtOnce * layer.columns;
    }
    __syncthreads();
    panel.add(tiles);
  }
  panel.store(out + column * kMlpRows);
}

// Columns first .. end - 1 of the product into `out`, [layer.columns, kMlpRows]: a thread's sums are of its own row.
template <class T, class Source>
__device__ __forceinline__ void narrow_product(const MlpLayer<T>& layer, int64_t first, T* out, const Source& source) {
  constexpr int kLanes = kFull<T>;
  const int row = own_row();
  // What other threads wrote may be read.
  __syncthreads();
  for (int64_t column = first + own_part() * kMlpNarrow; column < layer.end; column += kMlpParts * kMlpNarrow) {
    T sum[kMlpNarrow] = {};
    RF_UNROLL(1)
    for (int64_t start = 0; start < layer.depth; start += kMlpDepth) {
      RF_UNROLL(2)
      for (int k = 0; k < kMlpDepth; k += kLanes) {
        const Chunk<T, kLanes> operands = source(start + k);
        RF_UNROLL(4)
        for (int l = 0; l < kLanes; ++l) {
          const T* from = layer.weight + (start + k + l) * layer.columns + column;
          const Chunk<T, kMlpNarrow> weights = load<T, kMlpNarrow>(from);
          RF_UNROLL(4)
          for (int c = 0; c < kMlpNarrow; ++c) sum[c] = multiply_add(operands.lanes[l], weights.lanes[c], sum[c]);
        }
      }
    }
    RF_UNROLL(4)
    for (int c = 0; c < kMlpNarrow; ++c) out[(column + c) * kMlpRows + row] = sum[c];
  }
}

}  // namespace cuda
}  // namespace reluxfast
