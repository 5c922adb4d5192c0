#include "binding/soft_gate.h"
#include "cpu/parallel.h"
#include "cpu/soft_gate.h"

namespace reluxfast {
namespace {

struct Cpu {
  template <class T>
  static void run(const SoftGate<T>& a, const Tensor&) {
    torch::stable::parallel_for(0, a.repeats * a.words_per_repeat(), kGrain / kWord,
                                [&](int64_t begin, int64_t end) { soft_gate_words(a, begin, end); });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("soft_gate", TORCH_BOX(&reluxfast::soft_gate<reluxfast::Cpu>));
  m.impl("soft_gate_", TORCH_BOX(&reluxfast::soft_gate_<reluxfast::Cpu>));
}
