// Starts kernels on the current device: as many blocks as fit on it at once, at most as many as there is work for.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>

namespace reluxfast {
namespace cuda {

class Launch {
 public:
  explicit Launch(cudaStream_t stream) : stream_(stream) {}

  // Blocks that run() starts where there is work for so many; 0 after an error.
  template <auto* kKernel>
  int64_t blocks(int64_t most, dim3 block) {
    int64_t resident = 0;
    if (error_ == cudaSuccess) error_ = resident_blocks<kKernel>(static_cast<int>(block.x * block.y), resident);
    return std::min(most, resident);
  }

  // The grid has at most blocks_x * blocks_y blocks; kernels stride over what lies beyond it. Nothing is started after
  // an error.
  template <auto* kKernel, class... Arguments>
  void run(int64_t blocks_x, int64_t blocks_y, dim3 block, const Arguments&... arguments) {
    const int64_t most = std::numeric_limits<int64_t>::max(), resident = blocks<kKernel>(most, block);
    if (error_ != cudaSuccess) return;
    const int64_t x = std::min(blocks_x, resident);
    const int64_t y = std::min(blocks_y, std::max<int64_t>(1, std::min<int64_t>(resident / x, kMostBlocksY)));
    kKernel<<<dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)), block, 0, stream_>>>(arguments...);
    error_ = cudaGetLastError();
  }

  cudaError_t error() const { return error_; }

 private:
  static constexpr int kMostBlocksY = 65535, kDevices = 64;

  // Blocks of `threads` threads that the current device runs at once; asked once per kernel and device.
  template <auto* kKernel>
  static cudaError_t resident_blocks(int threads, int64_t& blocks) {
    static std::atomic<int> known[kDevices];
    int device = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error != cudaSuccess) return error;
    blocks = device < kDevices ? known[device].load(std::memory_order_relaxed) : 0;
    if (blocks > 0) return cudaSuccess;
    int processors = 0, each = 0;
    error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess) return error;
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kKernel, threads, 0);
    if (error != cudaSuccess) return error;
    blocks = int64_t{processors} * std::max(each, 1);
    if (device < kDevices) known[device].store(static_cast<int>(blocks), std::memory_order_relaxed);
    return cudaSuccess;
  }

  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace cuda
}  // namespace reluxfast
