#include "cpu/gate.h"

#define RF_KERNEL_FILE "cpu/gate_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
void gate_words(const Gate<T>& a, int64_t begin, int64_t end) {
  RF_DISPATCH(gate_words(a, begin, end))
}

template void gate_words(const Gate<float>&, int64_t, int64_t);
template void gate_words(const Gate<double>&, int64_t, int64_t);
template void gate_words(const Gate<Half>&, int64_t, int64_t);
template void gate_words(const Gate<BFloat16>&, int64_t, int64_t);

}  // namespace reluxfast
