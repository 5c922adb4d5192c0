// mlp_chains: a block walks a tile of chains, one step of all of them after another. A step adds the player's columns
// of the first weight to the chains' sums, which stay in the block's scratch, and multiplies what ReLU leaves of them
// by the weights behind. A pair's two chains are neighbours in a tile: its marginals are averaged where they are made.
//
// What belongs to a chain is computed in its row of the tile alone, in an order that depends on nothing but the sizes
// of the network. Sums are stored without bias, [columns, kMlpRows].
#pragma once

#include <algorithm>
#include <type_traits>

#include "common/mlp_chains.h"
#include "cuda/mlp_product.cuh"

namespace reluxfast {
namespace cuda {

// A call, and where its kernels work.
template <class T>
struct MlpWalk {
  MlpChains<T> call;
  MlpLayer<T> layer[kMostLayers];
  T* z;                                      // [x_tiles + background_tiles, layer[0].columns, kMlpRows]
  T* scratch;                                // [blocks, scratch_size]
  int64_t hidden, scratch_size;              // columns of the widest layer between first and last
  int64_t x_tiles, background_tiles, tiles;  // of rows of x, of the background, and of chains
};

// What belongs to one block. Layers take turns with two arrays, and so do steps.
template <class T>
struct MlpScratch {
  T *state, *hidden[2], *y[2];

  static int64_t size(const MlpWalk<T>& w) {
    return (w.layer[0].columns + 2 * w.hidden + 2 * w.layer[w.call.layers - 1].columns) * kMlpRows;
  }

  __device__ __forceinline__ explicit MlpScratch(const MlpWalk<T>& w) {
    state = w.scratch + blockIdx.x * w.scratch_size;
    hidden[0] = state + w.layer[0].columns * kMlpRows;
    hidden[1] = hidden[0] + w.hidden * kMlpRows;
    y[0] = hidden[1] + w.hidden * kMlpRows;
    y[1] = y[0] + w.layer[w.call.layers - 1].columns * kMlpRows;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) mlp_pack_kernel(MlpWalk<T> w) {
  const MlpChains<T>& a = w.call;
  const int64_t step = int64_t{gridDim.x} * blockDim.x, own = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (int l = blockIdx.y; l < a.layers; l += gridDim.y) {
    const MlpLayer<T> layer = w.layer[l];
    const int64_t width = a.widths[l + 1], depth = a.widths[l];
    for (int64_t at = own; at < (layer.depth + 1) * layer.columns; at += step) {
      const int64_t k = at / layer.columns, column = at % layer.columns;
      T value = 0;
      if (column < width) {
        if (k == layer.depth) value = a.biases[l][column];
        if (k < depth) value = a.weights[l][column * depth + (l == 0 ? a.members[k] : k)];
      }
      layer.weight[at] = value;
    }
  }
}

// Operands from rows of x or the background, features sorted by player.
template <class T>
struct MlpInputs {
  const T* row;  // null where there is none
  const int32_t* members;
  int64_t features;

  __device__ __forceinline__ Chunk<T, kFull<T>> operator()(int64_t k) const {
    Chunk<T, kFull<T>> chunk{};
    RF_UNROLL(4)
    for (int l = 0; l < kFull<T>; ++l) {
      if (row != nullptr && k + l < features) chunk.lanes[l] = row[members[k + l]];
    }
    return chunk;
  }
};

// The sums of a layer that a thread's own row has from k on.
template <class T>
__device__ __forceinline__ Chunk<T, kFull<T>> load_sums(const T* sums, int64_t k) {
  Chunk<T, kFull<T>> chunk;
  RF_UNROLL(4)
  for (int l = 0; l < kFull<T>; ++l) chunk.lanes[l] = sums[(k + l) * kMlpRows + own_row()];
  return chunk;
}

template <class T>
__device__ __forceinline__ void store_sums(T* sums, int64_t k, const Chunk<T, kFull<T>>& chunk) {
  RF_UNROLL(4)
  for (int l = 0; l < kFull<T>; ++l) sums[(k + l) * kMlpRows + own_row()] = chunk.lanes[l];
}

template <class T>
__device__ __forceinline__ Chunk<T, kFull<T>> activate(Chunk<T, kFull<T>> sums, const T* bias) {
  const Chunk<T, kFull<T>> biases = load<T, kFull<T>>(bias);
  RF_UNROLL(4)
  for (int l = 0; l < kFull<T>; ++l) sums.lanes[l] = relu(sums.lanes[l] + biases.lanes[l]);
  return sums;
}

// Operands from the sums of the layer before.
template <class T>
struct MlpActivations {
  const T *sums, *bias;

  __device__ __forceinline__ Chunk<T, kFull<T>> operator()(int64_t k) const {
    return activate(load_sums(sums, k), bias + k);
  }
};

// Operands from the first layer's sums, to which one player's columns are added on the way.
template <class T>
struct MlpStep {
  const MlpWalk<T>& w;
  T* state;
  const T *from, *to;  // rows of x and the background, or the reverse
  int32_t begin, end;  // the player's members; none where the row has no chain
  T change;            // of the first of them

  __device__ __forceinline__ T change_of(int32_t member) const {
    const int32_t feature = w.call.members[member];
    return to[feature] - from[feature];
  }

  __device__ __forceinline__ Chunk<T, kFull<T>> advance(int64_t k) const {
    const MlpLayer<T>& layer = w.layer[0];
    Chunk<T, kFull<T>> z = load_sums(state, k);
    RF_UNROLL(1)
    for (int32_t member = begin; member < end; ++member) {
      const T by = member == begin ? change : change_of(member);
      const Chunk<T, kFull<T>> column = load<T, kFull<T>>(layer.weight + member * layer.columns + k);
      RF_UNROLL(4)
      for (int l = 0; l < kFull<T>; ++l) z.lanes[l] = multiply_add(by, column.lanes[l], z.lanes[l]);
    }
    store_sums(state, k, z);
    return z;
  }

  __device__ __forceinline__ Chunk<T, kFull<T>> operator()(int64_t k) const {
    return activate(advance(k), w.layer[0].bias() + k);
  }
};

// The layers behind the first, from its sums `z` to those of the last, `y`. `first` gives the second layer's operands
// the first time that they are read for a panel.
template <class Panel, class T, class First>
__device__ __forceinline__ void mlp_behind(MlpTiles<T>& tiles, const MlpWalk<T>& w, const T* z,
                                           const MlpScratch<T>& scratch, T* y, const First& first) {
  const T* in = z;
  RF_UNROLL(1)
  for (int l = 1; l < w.call.layers; ++l) {
    const MlpLayer<T>& layer = w.layer[l];
    const MlpActivations<T> source{in, w.layer[l - 1].bias()};
    T* out = l + 1 == w.call.layers ? y : l % 2 == 0 ? scratch.hidden[0] : scratch.hidden[1];
    const int64_t wide = layer.wide();
    RF_UNROLL(1)
    for (int64_t column = 0; column < wide; column += kMlpColumns<T>) {
      if (l == 1 && column == 0) {
        wide_product<Panel>(tiles, layer, column, out, first);
      } else {
        wide_product<Panel>(tiles, layer, column, out, source);
      }
    }
    if (wide < layer.end) narrow_product(layer, wide, out, source);
    in = out;
  }
}

// f of the rows of x and of the background, and the first layer's sums for them.
template <class T>
__global__ void __launch_bounds__(kMlpThreads, kMlpBlocks) mlp_direct_kernel(MlpWalk<T> w) {
  __shared__ MlpTiles<T> tiles;
  const MlpChains<T>& a = w.call;
  const MlpScratch<T> scratch(w);
  const MlpLayer<T>& layer = w.layer[0];
  const int64_t outputs = a.outputs();
  for (int64_t tile = blockIdx.x; tile < w.x_tiles + w.background_tiles; tile += gridDim.x) {
    const bool of_x = tile < w.x_tiles;
    const int64_t start = (of_x ? tile : tile - w.x_tiles) * kMlpRows, row = start + own_row();
    const int64_t count = of_x ? a.rows : a.background_rows;
    const T* inputs = of_x ? a.x : a.background;
    const MlpInputs<T> source{row < count ? inputs + row * a.features() : nullptr, a.members, a.features()};
    T* z = w.z + tile * layer.columns * kMlpRows;
    const int64_t wide = layer.wide();
    RF_UNROLL(1)
    for (int64_t column = 0; column < wide; column += kMlpColumns<T>) {
      wide_product<FusedPanel<T>>(tiles, layer, column, z, source);
    }
    if (wide < layer.end) narrow_product(layer, wide, z, source);
    mlp_behind<FusedPanel<T>>(tiles, w, z, scratch, scratch.y[0], MlpActivations<T>{z, layer.bias()});
    __syncthreads();
    const T *y = a.layers == 1 ? z : scratch.y[0], *bias = w.layer[a.layers - 1].bias();
    T* f = of_x ? a.fx : a.fb;
    for (int64_t at = threadIdx.x; at < kMlpRows * outputs; at += kMlpThreads) {
      const int64_t r = at % kMlpRows, k = at / kMlpRows;
      if (start + r < count) f[(start + r) * outputs + k] = y[at] + bias[k];
    }
  }
}

// The marginals of one position t of a tile's pairs, from the sums of f before and after it.
template <class T>
__device__ __forceinline__ void write_marginals(const MlpWalk<T>& w, int64_t tile, int64_t t, const T* before,
                                                const T* after) {
  const MlpChains<T>& a = w.call;
  constexpr int kHalf = kMlpRows / 2;
  const int chains = a.antithetic ? 2 : 1, tile_pairs = a.antithetic ? kHalf : kMlpRows;
  const int64_t outputs = a.outputs();
  const T* bias = w.layer[a.layers - 1].bias();
  for (int64_t at = threadIdx.x; at < tile_pairs * outputs; at += kMlpThreads) {
    // Divisions by constants.
    const int64_t k = a.antithetic ? at / kHalf : at / kMlpRows, own = at - k * tile_pairs;
    const int64_t pair = tile * tile_pairs + own;
    if (pair >= a.rows * a.pairs) continue;
    const int64_t from = k * kMlpRows + own * chains;
    // Where a chain begins and ends its values are the direct products.
    const auto end = [&](bool of_x) {
      return of_x ? a.fx[pair / a.pairs * outputs + k] : a.fb[a.cycle[pair] * outputs + k];
    };
    const auto gain = [&](int chain) {
      const bool reverse = chain != 0;
      const T low = t == 0 ? end(reverse) : before[from + chain] + bias[k];
      const T high = t + 1 == a.players ? end(!reverse) : after[from + chain] + bias[k];
      return high - low;
    };
    T marginal = gain(0);
    if (a.antithetic) marginal = T(0.5) * (marginal - gain(1));
    const int32_t player = a.permutations[pair * a.players + t];
    a.marginals[(pair * a.players + player) * outputs + k] = marginal;
  }
}

template <class T, bool kTensor>
__global__ void __launch_bounds__(kMlpThreads, kMlpBlocks) mlp_chains_kernel(MlpWalk<T> w) {
  using Panel = std::conditional_t<kTensor, TensorPanel, FusedPanel<T>>;
  __shared__ MlpTiles<T> tiles;
  const MlpChains<T>& a = w.call;
  const MlpScratch<T> scratch(w);
  const MlpLayer<T>& first = w.layer[0];
  const int chains = a.antithetic ? 2 : 1;
  const int64_t stride = kMlpParts * kFull<T>, own = own_part() * kFull<T>;
  // Where the second layer has no panel, or there is none and its size is 0, steps are taken by themselves.
  const bool apart = w.layer[1].wide() == 0;
  for (int64_t tile = blockIdx.x; tile < w.tiles; tile += gridDim.x) {
    const int64_t pair = tile * (kMlpRows / chains) + own_row() / chains;
    const bool exists = pair < a.rows * a.pairs, reverse = a.antithetic && own_row() % 2 == 1;
    const int32_t* order = a.permutations + pair * a.players;
    MlpStep<T> step{w, scratch.state, nullptr, nullptr, 0, 0, 0};
    const T* start = nullptr;
    if (exists) {
      const int64_t row = pair / a.pairs, back = a.cycle[pair];
      const T *x = a.x + row * a.features(), *b = a.background + back * a.features();
      step.from = reverse ? x : b;
      step.to = reverse ? b : x;
      const int64_t at = reverse ? row : w.x_tiles * kMlpRows + back;
      start = w.z + at / kMlpRows * first.columns * kMlpRows + at % kMlpRows;
    }
    for (int64_t k = own_part(); k < first.end; k += kMlpParts) {
      scratch.state[k * kMlpRows + own_row()] = exists ? start[k * kMlpRows] : 0;
    }
    for (int64_t t = 0; t < a.players; ++t) {
      T* y = t % 2 == 0 ? scratch.y[0] : scratch.y[1];
      const T* before = t % 2 == 0 ? scratch.y[1] : scratch.y[0];
      if (t + 1 < a.players) {
        // The state was written, and what is overwritten has been read.
        __syncthreads();
        if (exists) {
          const int32_t player = order[t];
          step.begin = a.starts[player];
          step.end = a.starts[player + 1];
          step.change = step.change_of(step.begin);
        }
        if (apart) {
          for (int64_t k = own; k < first.end; k += stride) {
            const Chunk<T, kFull<T>> sums = step.advance(k);
            if (a.layers == 1) store_sums(y, k, sums);
          }
        }
        mlp_behind<Panel>(tiles, w, scratch.state, scratch, y, step);
        __syncthreads();
      }
      write_marginals(w, tile, t, before, y);
    }
  }
}

template <auto* kChains, class T, class Launch, class Allocate>
void mlp_chains(const MlpChains<T>& a, Launch& launch, const Allocate& allocate) {
  MlpWalk<T> w{};
  w.call = a;
  int64_t packed = 0, largest = 0;
  for (int l = 0; l < a.layers; ++l) {
    MlpLayer<T>& layer = w.layer[l];
    const int64_t width = a.widths[l + 1];
    layer.depth = whole(a.widths[l], kMlpDepth);
    layer.columns = whole(width, kMlpColumns<T>);
    // The next layer reads whole steps of depth.
    layer.end = whole(width, l + 1 < a.layers ? kMlpDepth : kMlpNarrow);
    if (l > 0 && l + 1 < a.layers) w.hidden = std::max(w.hidden, layer.columns);
    const int64_t size = (layer.depth + 1) * layer.columns;
    packed += size;
    largest = std::max(largest, size);
  }
  w.scratch_size = MlpScratch<T>::size(w);
  const auto tiles_of = [](int64_t rows) { return (rows + kMlpRows - 1) / kMlpRows; };
  w.x_tiles = tiles_of(a.rows);
  w.background_tiles = tiles_of(a.background_rows);
  w.tiles = tiles_of(a.rows * a.pairs * (a.antithetic ? 2 : 1));
  const int64_t direct_tiles = w.x_tiles + w.background_tiles;
  const dim3 block(kMlpThreads);
  const int64_t direct_blocks = launch.template blocks<&mlp_direct_kernel<T>>(direct_tiles, block);
  const int64_t chain_blocks = w.tiles == 0 ? 0 : launch.template blocks<kChains>(w.tiles, block);
  const int64_t z_size = direct_tiles * w.layer[0].columns * kMlpRows;
  const int64_t blocks = std::max(direct_blocks, chain_blocks);
  T* memory = static_cast<T*>(allocate((packed + z_size + blocks * w.scratch_size) * int64_t{sizeof(T)}));
  w.z = memory;
  w.scratch = w.z + z_size;
  T* weight = w.scratch + blocks * w.scratch_size;
  for (int l = 0; l < a.layers; ++l) {
    w.layer[l].weight = weight;
    weight += (w.layer[l].depth + 1) * w.layer[l].columns;
  }
  launch.template run<&mlp_pack_kernel<T>>((largest + kThreads - 1) / kThreads, a.layers, dim3(kThreads), w);
  launch.template run<&mlp_direct_kernel<T>>(direct_blocks, 1, block, w);
  if (chain_blocks > 0) launch.template run<kChains>(chain_blocks, 1, block, w);
}

// Starts the kernels; `launch` does so on the device or in the emulation, allocate(bytes) gives memory that is theirs
// until they are done, aligned to 256 bytes. There is at least one row of the background.
template <class T, class Launch, class Allocate>
void mlp_chains(const MlpChains<T>& a, Launch& launch, const Allocate& allocate) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (a.allow_tf32) return mlp_chains<&mlp_chains_kernel<T, true>>(a, launch, allocate);
  }
  mlp_chains<&mlp_chains_kernel<T, false>>(a, launch, allocate);
}

}  // namespace cuda
}  // namespace reluxfast
