#include "cpu/soft_gate_pack.h"

#define RF_KERNEL_FILE "cpu/soft_gate_pack_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
void soft_gate_pack_words(const SoftGatePack<T>& a, const Accumulation<T>* bias, const Accumulation<T>* d_bias,
                          int64_t begin, int64_t end) {
  RF_DISPATCH(soft_gate_pack_words(a, bias, d_bias, begin, end))
}

template void soft_gate_pack_words(const SoftGatePack<float>&, const float*, const float*, int64_t, int64_t);
template void soft_gate_pack_words(const SoftGatePack<double>&, const double*, const double*, int64_t, int64_t);
template void soft_gate_pack_words(const SoftGatePack<Half>&, const float*, const float*, int64_t, int64_t);
template void soft_gate_pack_words(const SoftGatePack<BFloat16>&, const float*, const float*, int64_t, int64_t);

}  // namespace reluxfast
