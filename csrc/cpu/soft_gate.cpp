#include "cpu/soft_gate.h"

#define RF_KERNEL_FILE "cpu/soft_gate_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
void soft_gate_words(const SoftGate<T>& a, int64_t begin, int64_t end) {
  RF_DISPATCH(soft_gate_words(a, begin, end))
}

template void soft_gate_words(const SoftGate<float>&, int64_t, int64_t);
template void soft_gate_words(const SoftGate<double>&, int64_t, int64_t);
template void soft_gate_words(const SoftGate<Half>&, int64_t, int64_t);
template void soft_gate_words(const SoftGate<BFloat16>&, int64_t, int64_t);

}  // namespace reluxfast
