#include "binding/soft_gate_pack.h"
#include "cpu/extended_bias.h"
#include "cpu/parallel.h"
#include "cpu/soft_gate_pack.h"

namespace reluxfast {
namespace {

struct Cpu {
  template <class T>
  static void run(const SoftGatePack<T>& a, const Tensor&) {
    const ExtendedBias<T> bias(a.bias, a.channels), d_bias(a.d_bias, a.channels);
    torch::stable::parallel_for(0, (a.numel + kWord - 1) / kWord, kGrain / kWord, [&](int64_t begin, int64_t end) {
      soft_gate_pack_words(a, bias.data(), d_bias.data(), begin, end);
    });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("soft_gate_pack", TORCH_BOX(&reluxfast::soft_gate_pack<reluxfast::Cpu>));
  m.impl("soft_gate_pack_", TORCH_BOX(&reluxfast::soft_gate_pack_<reluxfast::Cpu>));
}
