// The emulation's counterpart of csrc/cuda/launch.cuh, and the ops it runs on arrays of each dtype.
#pragma once

#include "emulation/cuda.h"
//
#include <algorithm>

#include "common/gate.h"
#include "common/max_pool.h"
#include "common/mlp_chains.h"
#include "common/relu_pack.h"
#include "common/soft_gate.h"
#include "common/soft_gate_pack.h"
#include "common/write_coalitions.h"

namespace emulation {

class Launch {
 public:
  // At most `most_blocks` blocks in x and y, of two warps each: few threads must stride over much work.
  Launch(int64_t most_blocks, bool threads) : most_blocks_(most_blocks), threads_(threads) {}

  template <auto* kKernel>
  int64_t blocks(int64_t most, dim3) const {
    return std::min(most, most_blocks_);
  }

  template <auto* kKernel, class... Arguments>
  void run(int64_t blocks_x, int64_t blocks_y, dim3 block, const Arguments&... arguments) {
    const auto x = static_cast<unsigned>(std::min(blocks_x, most_blocks_));
    const auto y = static_cast<unsigned>(std::min(blocks_y, most_blocks_));
    while (block.x * block.y > kThreads) (block.y > 1 ? block.y : block.x) /= 2;
    launch(dim3{x, y}, block, threads_, kKernel, arguments...);
  }

 private:
  static constexpr unsigned kThreads = 64;

  int64_t most_blocks_;
  bool threads_;
};

template <class T>
void relu_pack(const reluxfast::ReluPack<T>& a, Launch launch);
template <class T>
void gate(const reluxfast::Gate<T>& a, Launch launch);
template <class T>
void max_pool_pack(const reluxfast::PoolPack<T>& a, Launch launch);
template <class T>
void max_pool_scatter(const reluxfast::PoolScatter<T>& a, Launch launch);
template <class T>
void soft_gate_pack(const reluxfast::SoftGatePack<T>& a, Launch launch);
template <class T>
void soft_gate(const reluxfast::SoftGate<T>& a, Launch launch);
template <class T, class S>
void write_coalitions(const reluxfast::WriteCoalitions<T, S>& a, Launch launch);
// Returns how many words were written of the memory that the kernels work in.
template <class T>
int64_t mlp_chains(const reluxfast::MlpChains<T>& a, Launch launch);

}  // namespace emulation
