// Runs the last blocks of the CUDA kernels over arrays of more than 2^32 elements. The arrays are address space without
// memory behind it, of which those blocks touch a few pages; an index that does not fit in 64-bit arithmetic faults or
// is wrong.
#include "emulation/cuda.h"
#include "emulation/wmma.h"
//
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cuda/gate.cuh"
#include "cuda/max_pool_pack.cuh"
#include "cuda/max_pool_scatter.cuh"
#include "cuda/mlp_chains.cuh"
#include "cuda/relu_pack.cuh"
#include "cuda/soft_gate.cuh"
#include "cuda/soft_gate_pack.cuh"
#include "cuda/write_coalitions.cuh"

using namespace reluxfast;

namespace {

// As many blocks as there is work for, of which the last `count` run.
struct LastBlocks {
  unsigned count;

  template <auto* kKernel>
  int64_t blocks(int64_t most, dim3) const {
    return most;
  }

  template <auto* kKernel, class... Arguments>
  void run(int64_t blocks_x, int64_t blocks_y, dim3 block, const Arguments&... arguments) {
    const dim3 size{static_cast<unsigned>(blocks_x), static_cast<unsigned>(blocks_y)};
    emulation::launch(size, block, true, kKernel, emulation::From{size.x * size.y - std::min(count, size.x * size.y)},
                      arguments...);
  }
};

template <class T>
T* reserve(int64_t count) {
  void* p = mmap(nullptr, static_cast<size_t>(count) * sizeof(T), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) std::exit(77);
  return static_cast<T*>(p);
}

void expect(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  std::exit(1);
}

constexpr int64_t kMany = (int64_t{1} << 32) + 96;

void relu_pack_end(int64_t inner) {
  ReluPack<float> a{};
  const float bias[3] = {0, 1, 2};
  a.x = a.y = reserve<float>(kMany);
  a.mask = reserve<uint8_t>(packed_bytes(kMany, 1));
  a.bias = bias;
  a.numel = kMany;
  a.channels = 3;
  a.inner = inner;
  a.hi = 8;
  LastBlocks last{2};
  cuda::relu_pack(a, last);
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    expect(a.y[i] == static_cast<float>(i / inner % 3), "relu_pack value");
    expect(((a.mask[i >> 3] >> (i & 7)) & 1) == (i / inner % 3 > 0), "relu_pack bit");
  }
}

void gate_end() {
  // Two classes; the second begins beyond 2^32.
  Gate<float> a{};
  float* g = reserve<float>(2 * kMany);
  uint8_t* mask = reserve<uint8_t>(packed_bytes(kMany, 1));
  for (int64_t i = kMany - 64; i < kMany; ++i) g[kMany + i] = static_cast<float>(i % 5);
  for (int64_t b = (kMany - 64) / 8; b < kMany / 8; ++b) mask[b] = 0x5a;
  a.g = g;
  a.out = g;
  a.mask = mask;
  a.repeats = 2;
  a.period = kMany;
  a.mode = 1;
  LastBlocks last{2};
  cuda::gate(a, last);
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    expect(g[kMany + i] == (((0x5a >> (i & 7)) & 1) ? static_cast<float>(i % 5) : 0.0f), "gate value");
  }
}

void soft_gate_pack_end(int64_t inner) {
  SoftGatePack<float> a{};
  const float bias[3] = {0, 1, 2};
  a.bias = a.d_bias = bias;
  a.z = a.v = reserve<float>(kMany);
  float* part = reserve<float>(kMany);
  for (int64_t i = kMany - 64; i < kMany; ++i) part[i] = static_cast<float>(i % 5);
  a.d = a.residual = part;
  a.q[0] = reserve<float>(kMany);
  a.numel = kMany;
  a.channels = 3;
  a.inner = inner;
  a.hi = 8;
  a.epsilon = 1;
  a.f[0] = a.f_d[0] = 1;
  a.gates = 1;
  LastBlocks last{2};
  cuda::soft_gate_pack(a, last);
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    const float x = static_cast<float>(i / inner % 3), v = x + part[i];
    expect(a.v[i] == v, "soft_gate_pack value");
    expect(a.q[0][i] == v / (x + v + 1), "soft_gate_pack gate");
  }
}

void soft_gate_end() {
  // Two classes; the second begins beyond 2^32.
  SoftGate<float> a{};
  float *g = reserve<float>(2 * kMany), *q = reserve<float>(kMany);
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    g[kMany + i] = static_cast<float>(i % 5);
    q[i] = static_cast<float>(i % 3);
  }
  a.g = g;
  a.out = g;
  a.q = q;
  a.repeats = 2;
  a.period = kMany;
  LastBlocks last{2};
  cuda::soft_gate(a, last);
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    expect(g[kMany + i] == static_cast<float>(i % 5 * (i % 3)), "soft_gate value");
  }
}

void write_coalitions_end() {
  // Rows of x, of orders and of out, all of which end beyond 2^32.
  constexpr int64_t kRows = (int64_t{1} << 16) + 3, kSize = int64_t{1} << 16;
  uint16_t *x = reserve<uint16_t>(kRows * kSize), *background = reserve<uint16_t>(kRows * kSize);
  int32_t *labels = reserve<int32_t>(kSize), *ranks = reserve<int32_t>(kRows * kSize);
  int32_t* jobs = reserve<int32_t>(kRows * kJobFields);
  WriteCoalitions<uint16_t, uint16_t> a{};
  a.x = x;
  a.background = background;
  a.out = reserve<uint16_t>(kRows * kSize);
  a.labels = labels;
  a.ranks = ranks;
  a.jobs = jobs;
  a.count = kRows;
  a.d = a.players = kSize;
  const int64_t last = (kRows - 1) * kSize;
  const int32_t row = kRows - 1;
  const int32_t job[kJobFields] = {row, row, row, 2};
  for (int k = 0; k < kJobFields; ++k) jobs[(kRows - 1) * kJobFields + k] = job[k];
  for (int64_t e = 0; e < kSize; ++e) {
    // From the last player to the first: only labels that are looked at say so.
    labels[e] = static_cast<int32_t>(kSize - 1 - e);
    ranks[last + e] = static_cast<int32_t>(e % 3);
    x[last + e] = 1;
    background[last + e] = 2;
  }
  // Thirty-two blocks side by side.
  LastBlocks last_blocks{32};
  cuda::write_coalitions(a, last_blocks);
  for (int64_t e = 0; e < kSize; ++e) {
    expect(a.out[last + e] == ((kSize - 1 - e) % 3 < 2 ? 1 : 2), "write_coalitions value");
  }
}

void mlp_chains_end() {
  // A linear network over two players of four features each: a marginal is the sum of a player's features.
  const int32_t members[8] = {0, 2, 4, 6, 1, 3, 5, 7}, starts[3] = {0, 4, 8};
  const float weight[8] = {1, 1, 1, 1, 1, 1, 1, 1}, bias = 0, background[8] = {};
  float fb = 0;
  MlpChains<float> a{};
  a.rows = kMany / 8;
  a.background_rows = 1;
  a.pairs = 4;
  a.players = 2;
  a.layers = 1;
  a.antithetic = true;
  a.widths[0] = 8;
  a.widths[1] = 1;
  a.weights[0] = weight;
  a.biases[0] = &bias;
  a.members = members;
  a.starts = starts;
  a.background = background;
  a.cycle = reserve<int32_t>(a.rows * a.pairs);
  a.marginals = reserve<float>(a.rows * a.pairs * a.players);
  a.fx = reserve<float>(a.rows);
  a.fb = &fb;
  float* x = reserve<float>(a.rows * 8);
  int32_t* permutations = reserve<int32_t>(a.rows * a.pairs * a.players);
  a.x = x;
  a.permutations = permutations;
  // The last tile of chains.
  const int64_t first = a.rows - cuda::kMlpRows / 2 / a.pairs, pairs = a.rows * a.pairs;
  for (int64_t i = first * 8; i < a.rows * 8; ++i) x[i] = static_cast<float>(i % 7);
  for (int64_t pair = first * a.pairs; pair < pairs; ++pair) permutations[2 * pair + pair % 2] = 1;
  // As many blocks as pack the weights; the last two direct products are of x and of the background.
  LastBlocks last{5};
  cuda::mlp_chains(a, last, [](int64_t bytes) -> void* { return reserve<uint8_t>(bytes); });
  for (int64_t row = first; row < a.rows; ++row) {
    float sums[2] = {};
    for (int k = 0; k < 8; ++k) sums[k % 2] += x[row * 8 + k];
    expect(a.fx[row] == sums[0] + sums[1], "mlp_chains f");
    for (int64_t at = row * a.pairs * 2; at < (row + 1) * a.pairs * 2; ++at) {
      expect(a.marginals[at] == sums[at % 2], "mlp_chains marginal");
    }
  }
}

// One image so large that its last windows lie beyond 2^31 and its last rows beyond 2^33, or so many small ones.
void pool_end(int64_t images, int64_t channels, int64_t height, int64_t width) {
  PoolPack<float> a{};
  a.pool = Pool{images, channels, Window{1, 1, 1, 1, 0, 1}, Window{height, height / 2, 2, 2, 0, 1},
                Window{width, width / 2, 2, 2, 0, 1}};
  a.width = 2;
  float* x = reserve<float>(a.numel_in());
  a.x = x;
  a.y = reserve<float>(a.numel_out());
  a.winner = reserve<uint8_t>(packed_bytes(a.numel_out(), 2));
  expect(a.numel_out() > (int64_t{1} << 31), "size of the case");
  const int64_t row = width * channels, last_row = a.numel_in() - 2 * row;
  for (int64_t i = 0; i < 2 * row; ++i) x[last_row + i] = static_cast<float>(i % 7);
  LastBlocks last{static_cast<unsigned>(row / 2 / 256 + 2)};
  cuda::max_pool_pack(a, last);

  PoolScatter<float> s{};
  s.pool = a.pool;
  s.g = a.y;
  s.winner = a.winner;
  s.period_images = images;
  s.width = 2;
  s.out = reserve<float>(a.numel_in());
  last.count = 2;
  cuda::max_pool_scatter(s, last);
  for (int64_t w = 0; w < width / 2; ++w) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t y = a.numel_out() - row / 2 + w * channels + c;
      float best = -1, sum = 0;
      for (int64_t tap = 0; tap < 4; ++tap) {
        const int64_t at = last_row + (tap / 2) * row + (2 * w + tap % 2) * channels + c;
        best = x[at] > best ? x[at] : best;
        sum += s.out[at];
        expect(s.out[at] == 0 || s.out[at] == x[at], "scatter goes to the winner");
      }
      expect(a.y[y] == best, "pool value");
      expect(sum == best, "scatter value");
    }
  }
}

}  // namespace

int main() {
  relu_pack_end(1);
  relu_pack_end(int64_t{1} << 30);
  gate_end();
  soft_gate_pack_end(1);
  soft_gate_pack_end(int64_t{1} << 30);
  soft_gate_end();
  write_coalitions_end();
  mlp_chains_end();
  pool_end(1, 16, 24000, 24000);
  pool_end(6000000, 1, 38, 38);
  std::printf("right\n");
  return 0;
}
