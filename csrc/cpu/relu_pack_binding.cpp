#include "binding/relu_pack.h"
#include "cpu/extended_bias.h"
#include "cpu/parallel.h"
#include "cpu/relu_pack.h"

namespace reluxfast {
namespace {

struct Cpu {
  template <class T>
  static void run(const ReluPack<T>& a, const Tensor&) {
    const ExtendedBias<T> bias(a.bias, a.channels);
    torch::stable::parallel_for(0, (a.numel + kWord - 1) / kWord, kGrain / kWord,
                                [&](int64_t begin, int64_t end) { relu_pack_words(a, bias.data(), begin, end); });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("relu_pack", TORCH_BOX(&reluxfast::relu_pack<reluxfast::Cpu>));
  m.impl("relu_pack_", TORCH_BOX(&reluxfast::relu_pack_<reluxfast::Cpu>));
}
