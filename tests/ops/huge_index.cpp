// Runs the CPU kernels on the far end of arrays of more than 2^32 elements. The arrays are address space without memory
// behind it, of which the kernels touch a few pages; an index that does not fit in 64-bit arithmetic faults or is
// wrong.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "cpu/accumulate_moments.h"
#include "cpu/draw_orders.h"
#include "cpu/gate.h"
#include "cpu/max_pool.h"
#include "cpu/mlp_chains.h"
#include "cpu/mlp_outer_sums.h"
#include "cpu/relu_pack.h"
#include "cpu/soft_gate.h"
#include "cpu/soft_gate_pack.h"
#include "cpu/write_coalitions.h"

using namespace reluxfast;

namespace {

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

void relu_pack_end() {
  ReluPack<float> a{};
  float bias[3 + kWord];
  for (int k = 0; k < 3 + kWord; ++k) bias[k] = static_cast<float>(k % 3);
  a.x = a.y = reserve<float>(kMany);
  a.mask = reserve<uint8_t>(packed_bytes(kMany, 1));
  a.numel = kMany;
  a.channels = 3;
  a.inner = 1;
  a.hi = 8;
  relu_pack_words(a, bias, kMany / kWord - 2, kMany / kWord);
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    expect(a.y[i] == static_cast<float>(i % 3), "relu_pack value");
    expect(((a.mask[i >> 3] >> (i & 7)) & 1) == (i % 3 > 0), "relu_pack bit");
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
  a.period = kMany;
  a.mode = 1;
  gate_words(a, 2 * a.words_per_repeat() - 2, 2 * a.words_per_repeat());
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    expect(g[kMany + i] == (((0x5a >> (i & 7)) & 1) ? static_cast<float>(i % 5) : 0.0f), "gate value");
  }
}

void soft_gate_pack_end() {
  SoftGatePack<float> a{};
  float bias[3 + kWord];
  for (int k = 0; k < 3 + kWord; ++k) bias[k] = static_cast<float>(k % 3);
  a.z = a.v = reserve<float>(kMany);
  float* part = reserve<float>(kMany);
  for (int64_t i = kMany - 64; i < kMany; ++i) part[i] = static_cast<float>(i % 5);
  a.d = a.residual = part;
  a.q[0] = reserve<float>(kMany);
  a.numel = kMany;
  a.channels = 3;
  a.inner = 1;
  a.hi = 8;
  a.epsilon = 1;
  a.f[0] = a.f_d[0] = 1;
  a.gates = 1;
  soft_gate_pack_words(a, bias, bias, kMany / kWord - 2, kMany / kWord);
  for (int64_t i = kMany - 64; i < kMany; ++i) {
    const float x = static_cast<float>(i % 3), v = x + part[i];
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
  soft_gate_words(a, 2 * a.words_per_repeat() - 2, 2 * a.words_per_repeat());
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
  const FoundPlayers players(labels, kSize);
  write_coalitions_rows(a, players.view(), kRows - 1, kRows);
  for (int64_t e = 0; e < kSize; ++e) {
    expect(a.out[last + e] == ((kSize - 1 - e) % 3 < 2 ? 1 : 2), "write_coalitions value");
  }
}

// One image so large that its last windows lie beyond 2^31 and its last rows beyond 2^33, or so many small ones.
void pool_end(int64_t images, int64_t channels, int64_t height, int64_t width) {
  Pool pool{};
  pool.images = images;
  pool.channels = channels;
  pool.depth = Window{1, 1, 1, 1, 0, 1};
  pool.height = Window{height, height / 2, 2, 2, 0, 1};
  pool.width = Window{width, width / 2, 2, 2, 0, 1};
  PoolPack<float> a{};
  a.pool = pool;
  a.width = 2;
  float* x = reserve<float>(a.numel_in());
  a.x = x;
  a.y = reserve<float>(a.numel_out());
  a.winner = reserve<uint8_t>(packed_bytes(a.numel_out(), 2));
  expect(a.numel_out() > (int64_t{1} << 31), "size of the case");
  const int64_t row = width * channels, last = a.numel_in() - 2 * row;
  for (int64_t i = 0; i < 2 * row; ++i) x[last + i] = static_cast<float>(i % 7);
  const int64_t chunks = (a.numel_out() + kPoolChunk - 1) / kPoolChunk;
  pool_pack_chunks(a, chunks - row / 2 / kPoolChunk - 2, chunks);

  PoolScatter<float> s{};
  s.pool = pool;
  s.g = a.y;
  s.winner = a.winner;
  s.period_images = images;
  s.width = 2;
  s.out = reserve<float>(a.numel_in());
  pool_scatter_rows(s, s.rows() - 2, s.rows());
  for (int64_t w = 0; w < width / 2; ++w) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t y = a.numel_out() - row / 2 + w * channels + c;
      float best = -1, sum = 0;
      for (int64_t tap = 0; tap < 4; ++tap) {
        const int64_t at = last + (tap / 2) * row + (2 * w + tap % 2) * channels + c;
        best = x[at] > best ? x[at] : best;
        sum += s.out[at];
        expect(s.out[at] == 0 || s.out[at] == x[at], "scatter goes to the winner");
      }
      expect(a.y[y] == best, "pool value");
      expect(sum == best, "scatter value");
    }
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
  const int64_t first = a.rows - 2, pairs = a.rows * a.pairs;
  for (int64_t k = 0; k < 16; ++k) x[first * 8 + k] = static_cast<float>(k);
  for (int64_t pair = first * a.pairs; pair < pairs; ++pair) permutations[pair * 2 + pair % 2] = 1;

  const PackedMlp<float> packed(a, mlp_panel<float>(), a.members);
  ChainScratch<float> scratch(packed.network(), kTileStep);
  float *z_x = reserve<float>(a.rows * whole_lines<float>(1)), z_b[whole_lines<float>(1)];
  mlp_direct(a, packed.network(), scratch, a.background, z_b, a.fb, 0, 1);
  mlp_direct(a, packed.network(), scratch, a.x, z_x, a.fx, first, a.rows);
  mlp_chain_pairs(a, packed.network(), scratch, z_x, z_b, first * a.pairs, pairs);
  expect(a.fx[first] == 28 && a.fx[first + 1] == 92, "mlp_chains direct");
  for (int64_t pair = first * a.pairs; pair < pairs; ++pair) {
    const bool last = pair >= pairs - a.pairs;
    expect(a.marginals[pair * 2] == (last ? 44 : 12), "mlp_chains first player");
    expect(a.marginals[pair * 2 + 1] == (last ? 48 : 16), "mlp_chains second player");
  }
}

void mlp_outer_sums_end() {
  const float weight = 2, bias = 1;
  float low[4 * whole_lines<float>(1)] = {};
  MlpOuterSums<float> a{};
  a.groups = 2;
  a.highs = kMany / 4;
  a.lows = 2;
  a.layers = 1;
  a.widths[0] = a.widths[1] = 1;
  a.weights[0] = &weight;
  a.biases[0] = &bias;
  float* high = reserve<float>(a.groups * a.highs);
  high[2 * a.highs - 1] = 3;
  low[3 * whole_lines<float>(1)] = 4;
  a.high = high;
  a.y = reserve<float>(a.rows());
  const PackedMlp<float> packed(a, mlp_panel<float>());
  MlpScratch<float> scratch(packed.network(), kTileStep);
  mlp_sum_rows(a, packed.network(), scratch, low, a.rows() - 3, a.rows());
  const float* end = a.y + a.rows();
  expect(end[-1] == 15 && end[-2] == 7 && end[-3] == 9, "mlp_outer_sums");
}

void draw_orders_end() {
  DrawOrders a{};
  a.count = 8;
  a.n = 64;
  a.row_count = kMany / (a.count * a.n) + 1;
  int64_t* rows = reserve<int64_t>(a.row_count);
  a.rows = rows;
  a.orders = reserve<int32_t>(a.row_count * a.count * a.n);
  const int64_t units = a.row_count * a.count;
  rows[a.row_count - 1] = kMany % 1000;
  draw_orders_units(a, units - 2, units);
  // The same unit of the same row, at the beginning.
  DrawOrders again = a;
  int32_t orders[2 * 64];
  again.rows = rows + a.row_count - 1;
  again.orders = orders;
  again.row_count = 1;
  again.first = a.count - 2;
  again.count = 2;
  draw_orders_units(again, 0, 2);
  int64_t sum = 0;
  for (int64_t i = 0; i < 2 * a.n; ++i) {
    expect(a.orders[(units - 2) * a.n + i] == orders[i], "draw_orders value");
    sum += orders[i];
  }
  expect(sum == a.n * (a.n - 1), "draw_orders sum");
}

void accumulate_moments_end() {
  AccumulateMoments<float> a{};
  a.size = int64_t{1} << 16;
  a.state_rows = (int64_t{1} << 16) + 3;
  a.row_count = (int64_t{1} << 15) + 3;
  a.unit_count = 2;
  a.count = reserve<int64_t>(a.state_rows);
  a.mean = reserve<double>(a.state_rows * a.size);
  a.m2 = reserve<double>(a.state_rows * a.size);
  int64_t* rows = reserve<int64_t>(a.row_count);
  float* units = reserve<float>(a.row_count * a.unit_count * a.size);
  a.rows = rows;
  a.units = units;
  rows[a.row_count - 1] = a.state_rows - 1;
  const int64_t last = (a.row_count - 1) * a.unit_count * a.size, end = a.state_rows * a.size;
  for (int64_t e = 0; e < a.size; ++e) units[last + a.size + e] = static_cast<float>(e % 7);
  accumulate_moments_blocks(a, moment_blocks(a) - 2, moment_blocks(a));
  for (int64_t e = a.size - kMomentBlock; e < a.size; ++e) {
    const double half = static_cast<double>(e % 7) / 2;
    expect(a.mean[end - a.size + e] == half, "accumulate_moments mean");
    expect(a.m2[end - a.size + e] == 2 * half * half, "accumulate_moments m2");
  }
}

}  // namespace

int main() {
  relu_pack_end();
  gate_end();
  soft_gate_pack_end();
  soft_gate_end();
  write_coalitions_end();
  pool_end(1, 16, 24000, 24000);
  pool_end(6000000, 1, 38, 38);
  mlp_chains_end();
  mlp_outer_sums_end();
  draw_orders_end();
  accumulate_moments_end();
  std::printf("right\n");
  return 0;
}
