#include "binding/gate.h"
#include "cpu/gate.h"
#include "cpu/parallel.h"

namespace reluxfast {
namespace {

struct Cpu {
  template <class T>
  static void run(const Gate<T>& a, const Tensor&) {
    torch::stable::parallel_for(0, a.repeats * a.words_per_repeat(), kGrain / kWord,
                                [&](int64_t begin, int64_t end) { gate_words(a, begin, end); });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("gate", TORCH_BOX(&reluxfast::gate<reluxfast::Cpu>));
  m.impl("gate_", TORCH_BOX(&reluxfast::gate_<reluxfast::Cpu>));
}
