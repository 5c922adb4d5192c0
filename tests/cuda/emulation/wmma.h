// Products of tensor cores on the CPU, for kernels that use <mma.h>: matrices of float whose operands are TF32. Every
// lane of a warp holds all of a matrix, in row-major order, and stores its share.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulation/cuda.h"

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32;
}

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment {
  static constexpr int rows = std::is_same_v<Use, matrix_b> ? k : m, columns = std::is_same_v<Use, matrix_a> ? k : n;
  static constexpr int num_elements = rows * columns;
  float x[num_elements];
};

// Rounds to the nearest number with ten bits of mantissa, ties away from zero, as cvt.rna.tf32.f32 does.
inline float __float_to_tf32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & ~0x1fffu;
  std::memcpy(&value, &bits, 4);
  return value;
}

template <class Fragment>
void fill_fragment(Fragment& fragment, float value) {
  for (float& element : fragment.x) element = value;
}

inline void check_aligned(const float* pointer, unsigned stride) {
  if (reinterpret_cast<uintptr_t>(pointer) % 32 != 0 || stride % 4 != 0) {
    emulation::require_self().grid->fail("a matrix must begin at 32 bytes, its rows 16 bytes apart");
  }
}

template <class Use, int m, int n, int k, class Layout>
void load_matrix_sync(fragment<Use, m, n, k, precision::tf32, Layout>& to, const float* from, unsigned stride) {
  check_aligned(from, stride);
  __syncwarp();
  for (int row = 0; row < to.rows; ++row) {
    for (int column = 0; column < to.columns; ++column) {
      const int at = std::is_same_v<Layout, row_major> ? row * stride + column : column * stride + row;
      to.x[row * to.columns + column] = from[at];
    }
  }
}

template <int m, int n, int k, class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, m, n, k, float>& sum,
              const fragment<matrix_a, m, n, k, precision::tf32, LayoutA>& a,
              const fragment<matrix_b, m, n, k, precision::tf32, LayoutB>& b,
              const fragment<accumulator, m, n, k, float>& before) {
  __syncwarp();
  for (int row = 0; row < m; ++row) {
    for (int column = 0; column < n; ++column) {
      float value = before.x[row * n + column];
      for (int inner = 0; inner < k; ++inner) value = std::fma(a.x[row * k + inner], b.x[inner * n + column], value);
      sum.x[row * n + column] = value;
    }
  }
}

template <int m, int n, int k>
void store_matrix_sync(float* to, const fragment<accumulator, m, n, k, float>& from, unsigned stride, layout_t layout) {
  check_aligned(to, stride);
  __syncwarp();
  for (int at = emulation::require_self().lane(); at < from.num_elements; at += emulation::kWarpLanes) {
    const int row = at / n, column = at % n;
    to[layout == mem_row_major ? row * stride + column : column * stride + row] = from.x[at];
  }
}

}  // namespace nvcuda::wmma
