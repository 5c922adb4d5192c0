// Kernels whose right answers are known, for a test of the emulation itself. Prints "right" or what went wrong.
// With RF_WITHOUT_BARRIER one __syncthreads is left out, which is a race that ThreadSanitizer must report.
#include <cstdio>

#include "emulation/cuda.h"

namespace {

constexpr int kThreads = 64;

// out[block] = the sum of the block's row, by way of shared memory and shuffles; threads beyond the row return early.
__global__ void row_sums(const float* rows, float* out, int columns) {
  __shared__ float partial[kThreads / 32];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  float sum = 0;
  for (int c = thread; c < columns; c += kThreads) sum += rows[blockIdx.x * columns + c];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_down_sync(0xffffffffu, sum, distance);
  if (lane == 0) partial[warp] = sum;
  if (warp == 1) return;  // written; the barrier below must not wait for this warp
#ifndef RF_WITHOUT_BARRIER
  __syncthreads();
#endif
  if (thread == 0) out[blockIdx.x] = partial[0] + partial[1];
}

// What every lane learns about the others.
__global__ void warp_operations(uint32_t* ballots, int* broadcast, int* swapped) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  ballots[thread] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  broadcast[thread] = __shfl_sync(0xffffffffu, thread, 5);
  __syncwarp();
  swapped[thread] = __shfl_xor_sync(0xffffffffu, thread, 4);
}

__global__ void returns_too_early(uint32_t* ballot) {
  if (threadIdx.x == 7) return;
  *ballot = __ballot_sync(0xffffffffu, 1);
}

__global__ void names_half_a_warp(uint32_t* ballot) { *ballot = __ballot_sync(0xffffu, 1); }

__global__ void at_different_operations(uint32_t* ballot) {
  if (threadIdx.x % 2) {
    *ballot = __ballot_sync(0xffffffffu, 1);
  } else {
    __syncwarp();
  }
}

int wrong = 0;

void expect(bool right, const char* what) {
  if (!right) std::printf("wrong: %s\n", what), ++wrong;
}

template <class Kernel>
std::string refusal(Kernel kernel, dim3 block, bool threads) {
  uint32_t ballot = 0;
  try {
    emulation::launch(dim3{2}, block, threads, kernel, &ballot);
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

int main() {
  constexpr int kRows = 5, kColumns = 150;
  std::vector<float> rows(kRows * kColumns), sums(kRows, -1);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i % 11);
  emulation::launch(dim3{kRows}, dim3{kThreads}, true, row_sums, rows.data(), sums.data(), kColumns);
#ifndef RF_WITHOUT_BARRIER
  for (int r = 0; r < kRows; ++r) {
    float sum = 0;
    for (int c = 0; c < kColumns; ++c) sum += rows[r * kColumns + c];
    expect(sums[r] == sum, "sum of a row");
  }
#endif

  std::vector<uint32_t> ballots(2 * kThreads);
  std::vector<int> broadcast(kThreads), swapped(kThreads);
  emulation::launch(dim3{1}, dim3{kThreads}, true, warp_operations, ballots.data(), broadcast.data(), swapped.data());
  for (int t = 0; t < kThreads; ++t) {
    expect(ballots[t] == 0x49249249u, "ballot");
    expect(broadcast[t] == t / 32 * 32 + 5, "broadcast");
    expect(swapped[t] == (t ^ 4), "shuffle");
  }

  expect(refusal(returns_too_early, dim3{32}, true) == "a warp operation names a lane that has returned", "return");
  expect(refusal(names_half_a_warp, dim3{32}, true) == "a warp operation must name the whole warp", "mask");
  expect(refusal(at_different_operations, dim3{32}, true) == "the lanes of a warp are at different operations",
         "divergence");
  expect(refusal(names_half_a_warp, dim3{33}, true) == "a block must consist of whole warps", "block size");
  expect(refusal(names_half_a_warp, dim3{32}, false) ==
             "a kernel whose threads wait for each other was launched one by one",
         "one by one");
  if (wrong == 0) std::printf("right\n");
  return wrong != 0;
}
