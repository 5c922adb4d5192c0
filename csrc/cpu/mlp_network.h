// The weights of a call, laid out for the CPU loops.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/mlp_layers.h"
#include "cpu/aligned_array.h"

namespace reluxfast {

// Elements of a cache line, a multiple of every register's: rows begin and end at cache lines.
template <class T>
constexpr int64_t kLine = kCacheLine / sizeof(T);

template <class T>
constexpr int64_t whole_lines(int64_t count) {
  return (count + kLine<T> - 1) / kLine<T> * kLine<T>;
}

// A transposed weight, padded with zeros to whole lines of columns and cut into panels of `panel` columns, the last of
// them narrower if need be; each panel is [depth, its columns].
template <class T>
struct MlpLayer {
  const T* panels;
  const T* bias;  // [columns]
  int64_t depth, columns, panel;
};

template <class T>
struct MlpNetwork {
  MlpLayer<T> layer[kMostLayers];
  int layers;
  int64_t outputs;
  const T* last;  // [layer[layers - 2].columns]: the last weight where it is a dot product

  // Whether the last layer is one dot product, which is taken where the activations before it are made.
  bool ends_in_dot() const { return layers > 1 && outputs == 1; }
};

// Columns of a layer's panels, by the instruction set in use.
template <class T>
int64_t mlp_panel();

// Owns what a MlpNetwork points to.
template <class T>
class PackedMlp {
 public:
  // A whole network, its first weight one panel whose features are in the order of `members`.
  PackedMlp(const MlpLayers<T>& a, int64_t panel, const int32_t* members) {
    network_.layer[0] = pack(a.weights[0], a.biases[0], a.widths[1], a.widths[0], whole_lines<T>(a.widths[1]), members);
    pack_behind(a, 1, panel);
  }

  // The layers behind a first one that only has columns.
  PackedMlp(const MlpLayers<T>& a, int64_t panel) {
    network_.layer[0].columns = whole_lines<T>(a.widths[0]);
    pack_behind(a, 0, panel);
  }

  const MlpNetwork<T>& network() const { return network_; }

 private:
  void pack_behind(const MlpLayers<T>& a, int first, int64_t panel) {
    network_.layers = 1;
    for (int l = first; l < a.layers; ++l) {
      network_.layer[network_.layers++] = pack(a.weights[l], a.biases[l], a.widths[l + 1], a.widths[l], panel, nullptr);
    }
    network_.outputs = a.outputs();
    if (network_.ends_in_dot()) {
      T* last = array(whole_lines<T>(a.widths[a.layers - 1]));
      std::copy_n(a.weights[a.layers - 1], a.widths[a.layers - 1], last);
      network_.last = last;
    }
  }

  T* array(int64_t count) {
    arrays_.emplace_back(count);
    return arrays_.back().data();
  }

  MlpLayer<T> pack(const T* weight, const T* bias, int64_t width, int64_t depth, int64_t panel, const int32_t* order) {
    const int64_t columns = whole_lines<T>(width);
    T* panels = array(depth * columns);
    for (int64_t first = 0; first < width; first += panel) {
      const int64_t wide = std::min(panel, columns - first), used = std::min(panel, width - first);
      T* to = panels + first * depth;
      // A line of each row at a time: the lines of the panel that it goes to stay in the cache.
      for (int64_t begin = 0; begin < depth; begin += kLine<T>) {
        const int64_t end = std::min(begin + kLine<T>, depth);
        for (int64_t c = 0; c < used; ++c) {
          const T* row = weight + (first + c) * depth;
          for (int64_t k = begin; k < end; ++k) to[k * wide + c] = row[order == nullptr ? k : order[k]];
        }
      }
    }
    T* biases = array(columns);
    std::copy_n(bias, width, biases);
    return {panels, biases, depth, columns, panel};
  }

  MlpNetwork<T> network_{};
  std::vector<AlignedArray<T>> arrays_;
};

}  // namespace reluxfast
