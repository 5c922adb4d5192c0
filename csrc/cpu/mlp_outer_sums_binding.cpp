#include "binding/mlp_outer_sums.h"
#include "cpu/mlp_outer_sums.h"
#include "cpu/parallel.h"

namespace reluxfast {
namespace {

// What a thread should get at least, in multiplications.
constexpr int64_t kGrainProducts = int64_t{1} << 20;

struct Cpu {
  template <class T>
  static void run(const MlpOuterSums<T>& a, const Tensor&) {
    const PackedMlp<T> packed(a, mlp_panel<T>());
    const MlpNetwork<T>& net = packed.network();
    const int64_t depth = a.widths[0], columns = net.layer[0].columns, rows = a.groups * a.lows;
    const AlignedArray<T> padded(columns == depth ? 0 : rows * columns);
    if (columns != depth) {
      for (int64_t row = 0; row < rows; ++row) {
        std::copy_n(a.low + row * depth, depth, padded.data() + row * columns);
      }
    }
    const T* low = columns == depth ? a.low : padded.data();
    int64_t products = depth;
    for (int l = 0; l < a.layers; ++l) products += a.widths[l] * a.widths[l + 1];
    torch::stable::parallel_for(0, a.rows(), 1 + kGrainProducts / products, [&](int64_t begin, int64_t end) {
      MlpScratch<T> scratch(
          net, std::min(MlpScratch<T>::rows_for(net), (end - begin + kTileStep - 1) / kTileStep * kTileStep));
      mlp_sum_rows(a, net, scratch, low, begin, end);
    });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("mlp_outer_sums", TORCH_BOX(&reluxfast::mlp_outer_sums<reluxfast::Cpu>));
}
