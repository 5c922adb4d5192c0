// Runs CUDA kernels on the CPU: one thread per CUDA thread, blocks one after another. A header with kernels and no
// launches is compiled after this one by a C++20 compiler and started with emulation::launch.
//
// Known: threadIdx and its kin, static __shared__ memory, __syncthreads, the warp operations below over whole warps,
// and products of tensor cores (wmma.h). Not known: dynamic shared memory, partial warps, atomics, cooperative groups,
// inline PTX.
#pragma once

#include <array>
#include <atomic>
#include <barrier>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// One copy for all threads: blocks take turns.
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr int kWarpLanes = 32;

enum class Operation { sync, ballot, shuffle };

struct Message {
  unsigned number;  // which of the lane's operations this is, from 1
  Operation operation;
  uint32_t value;
};

using Messages = std::array<Message, kWarpLanes>;

struct Warp {
  std::barrier<> barrier{kWarpLanes};
  std::array<Messages, 2> messages{};  // of this operation and of the one before it
};

// What the threads of the running block share.
struct Block {
  explicit Block(int threads) : barrier(threads), warps(threads / kWarpLanes) {}
  std::barrier<> barrier;
  std::vector<Warp> warps;
};

// What all threads of a launch share.
struct Grid {
  dim3 size, block_size;
  unsigned block_number = 0;
  bool over = false;  // changes only between blocks, when all threads wait
  std::unique_ptr<Block> block;
  std::mutex mutex;
  std::string error;
  std::atomic<bool> failed{false};

  void fail(const std::string& why) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (error.empty()) error = why;
    failed = true;
  }
};

// The first block of a grid that is run.
struct From {
  unsigned block = 0;
};

// Unwinds a kernel after an error.
struct Stop {};

// The thread that is running a kernel, if it runs beside others.
struct Self {
  Grid* grid;
  int thread;
  unsigned operations;  // warp operations so far in this block

  Warp& warp() const { return grid->block->warps[thread / kWarpLanes]; }
  int lane() const { return thread % kWarpLanes; }
};

inline thread_local Self* self = nullptr;

inline Self& require_self() {
  if (self == nullptr) throw std::logic_error("a kernel whose threads wait for each other was launched one by one");
  return *self;
}

// Every lane gives a message and gets those of the whole warp.
inline const Messages& exchange(uint32_t mask, Operation operation, uint32_t value) {
  Self& me = require_self();
  Warp& warp = me.warp();
  if (mask != 0xffffffffu) me.grid->fail("a warp operation must name the whole warp");
  Messages& messages = warp.messages[++me.operations % 2];
  messages[me.lane()] = {me.operations, operation, value};
  warp.barrier.arrive_and_wait();
  for (const Message& m : messages) {
    if (m.number != me.operations) me.grid->fail("a warp operation names a lane that has returned");
    if (m.operation != operation) me.grid->fail("the lanes of a warp are at different operations");
  }
  if (me.grid->failed) throw Stop();
  return messages;
}

template <class T>
T shuffle(uint32_t mask, T value, int from) {
  static_assert(sizeof(T) == 4, "the emulation shuffles 32-bit values");
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const Messages& all = exchange(mask, Operation::shuffle, bits);
  if (from >= 0 && from < kWarpLanes) std::memcpy(&value, &all[from].value, 4);
  return value;
}

// Starts `kernel` with a thread for each CUDA thread, or, for a kernel whose threads never wait for each other, calls
// it once per CUDA thread. Throws what the kernel did wrong as std::logic_error.
template <class... Parameters, class... Arguments>
void launch(dim3 size, dim3 block_size, bool threads, void (*kernel)(Parameters...), From from,
            const Arguments&... arguments) {
  const unsigned blocks = size.x * size.y * size.z;
  const int count = static_cast<int>(block_size.x * block_size.y * block_size.z);
  if (from.block >= blocks || count == 0) throw std::logic_error("a launch of no threads is an error");
  const auto place = [&](unsigned block, unsigned thread) {
    gridDim = size, blockDim = block_size;
    blockIdx = {block % size.x, block / size.x % size.y, block / size.x / size.y};
    threadIdx = {thread % block_size.x, thread / block_size.x % block_size.y, thread / block_size.x / block_size.y};
  };
  if (!threads) {
    for (unsigned block = from.block; block < blocks; ++block) {
      for (int thread = 0; thread < count; ++thread) place(block, thread), kernel(arguments...);
    }
    return;
  }
  if (count % kWarpLanes != 0) throw std::logic_error("a block must consist of whole warps");
  Grid grid;
  grid.block_number = from.block;
  grid.block = std::make_unique<Block>(count);
  const auto next_block = [&]() noexcept {
    grid.over = ++grid.block_number == blocks || grid.failed;
    grid.block = std::make_unique<Block>(count);
  };
  std::barrier block_end(count, next_block);
  const auto run = [&](int thread) {
    while (!grid.over) {
      Self me{&grid, thread, 0};
      self = &me;
      place(grid.block_number, thread);
      try {
        kernel(arguments...);
      } catch (const Stop&) {
      }
      // Those that go on no longer wait for this thread.
      me.warp().barrier.arrive_and_drop();
      grid.block->barrier.arrive_and_drop();
      block_end.arrive_and_wait();
    }
  };
  std::vector<std::thread> running;
  for (int thread = 0; thread < count; ++thread) running.emplace_back(run, thread);
  for (std::thread& t : running) t.join();
  if (grid.failed) throw std::logic_error(grid.error);
}

// The same for all blocks.
template <class... Parameters, class... Arguments>
void launch(dim3 size, dim3 block_size, bool threads, void (*kernel)(Parameters...), const Arguments&... arguments) {
  launch(size, block_size, threads, kernel, From{}, arguments...);
}

}  // namespace emulation

inline void __syncthreads() {
  emulation::Self& me = emulation::require_self();
  me.grid->block->barrier.arrive_and_wait();
  if (me.grid->failed) throw emulation::Stop();
}

inline void __syncwarp(uint32_t mask = 0xffffffffu) { emulation::exchange(mask, emulation::Operation::sync, 0); }

inline uint32_t __ballot_sync(uint32_t mask, int predicate) {
  const emulation::Messages& all = emulation::exchange(mask, emulation::Operation::ballot, predicate != 0);
  uint32_t bits = 0;
  for (int lane = 0; lane < emulation::kWarpLanes; ++lane) bits |= all[lane].value << lane;
  return bits;
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int from) {
  return emulation::shuffle(mask, value, from % emulation::kWarpLanes);
}

template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lane_mask) {
  return emulation::shuffle(mask, value, emulation::require_self().lane() ^ lane_mask);
}

template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned distance) {
  return emulation::shuffle(mask, value, emulation::require_self().lane() + static_cast<int>(distance));
}
