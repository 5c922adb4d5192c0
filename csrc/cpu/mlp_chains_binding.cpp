#include "binding/mlp_chains.h"
#include "cpu/mlp_chains.h"
#include "cpu/parallel.h"

namespace reluxfast {
namespace {

// Marks of which of 0 .. count - 1 a list has held.
class Seen {
 public:
  explicit Seen(int64_t count) : last_(count, -1) {}

  // Whether `values`, [count], hold each number once; `list` is another one for every list.
  bool all_once(const int32_t* values, int64_t list) {
    const int64_t count = static_cast<int64_t>(last_.size());
    for (int64_t k = 0; k < count; ++k) {
      if (values[k] < 0 || values[k] >= count || last_[values[k]] == list) return false;
      last_[values[k]] = list;
    }
    return true;
  }

 private:
  std::vector<int64_t> last_;
};

template <class T>
void check_values(const MlpChains<T>& a) {
  const int64_t features = a.features();
  STD_TORCH_CHECK(Seen(features).all_once(a.members, 0), "members must hold each of the features 0 to ", features - 1,
                  " once; sort the features by player, as player.argsort(stable=True).int() does");
  for (int64_t i = 0; i <= a.players; ++i) {
    const bool right =
        (i == 0 ? a.starts[i] == 0 : a.starts[i] > a.starts[i - 1]) && (i < a.players || a.starts[i] == features);
    STD_TORCH_CHECK(right, "starts must ascend from 0 to the number of features, ", features,
                    ", so that each player has a feature, got ", a.starts[i], " as starts[", i, "]");
  }
  Seen players(a.players);
  for (int64_t row = 0, pair = 0; row < a.rows; ++row) {
    for (int64_t g = 0; g < a.pairs; ++g, ++pair) {
      STD_TORCH_CHECK(a.cycle[pair] >= 0 && a.cycle[pair] < a.background_rows,
                      "cycle must hold rows of background, 0 to ", a.background_rows - 1, ", got ", a.cycle[pair],
                      " for row ", row, ", pair ", g);
      STD_TORCH_CHECK(players.all_once(a.permutations + pair * a.players, pair),
                      "permutations must hold each of the players 0 to ", a.players - 1, " once, those of row ", row,
                      ", pair ", g, " do not");
    }
  }
}

// What a thread should get at least, in multiplications.
constexpr int64_t kGrainProducts = int64_t{1} << 20;

struct Cpu {
  template <class T>
  static void run(const MlpChains<T>& a, const Tensor&) {
    check_values(a);
    const PackedMlp<T> packed(a, mlp_panel<T>(), a.members);
    const MlpNetwork<T>& net = packed.network();
    int64_t behind = net.layer[0].columns;
    for (int l = 1; l < a.layers; ++l) behind += a.widths[l] * a.widths[l + 1];
    const int64_t tile_rows = MlpScratch<T>::rows_for(net);

    const AlignedArray<T> z_x(a.rows * net.layer[0].columns), z_b(a.background_rows * net.layer[0].columns);
    const auto direct = [&](const T* inputs, int64_t rows, T* z, T* f) {
      const int64_t products = a.features() * net.layer[0].columns + behind;
      torch::stable::parallel_for(0, rows, 1 + kGrainProducts / products, [&](int64_t begin, int64_t end) {
        ChainScratch<T> scratch(net, kTileStep);
        mlp_direct(a, net, scratch, inputs, z, f, begin, end);
      });
    };
    direct(a.x, a.rows, z_x.data(), a.fx);
    direct(a.background, a.background_rows, z_b.data(), a.fb);

    const int64_t products = a.players * (1 + a.antithetic) * behind;
    torch::stable::parallel_for(0, a.rows * a.pairs, 1 + kGrainProducts / products, [&](int64_t begin, int64_t end) {
      ChainScratch<T> scratch(net, tile_rows);
      mlp_chain_pairs(a, net, scratch, z_x.data(), z_b.data(), begin, end);
    });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("mlp_chains", TORCH_BOX(&reluxfast::mlp_chains<reluxfast::Cpu>));
}
