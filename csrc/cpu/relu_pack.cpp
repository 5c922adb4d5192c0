#include "cpu/relu_pack.h"

#define RF_KERNEL_FILE "cpu/relu_pack_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
void relu_pack_words(const ReluPack<T>& a, const Accumulation<T>* bias, int64_t begin, int64_t end) {
  RF_DISPATCH(relu_pack_words(a, bias, begin, end))
}

template void relu_pack_words(const ReluPack<float>&, const float*, int64_t, int64_t);
template void relu_pack_words(const ReluPack<double>&, const double*, int64_t, int64_t);
template void relu_pack_words(const ReluPack<Half>&, const float*, int64_t, int64_t);
template void relu_pack_words(const ReluPack<BFloat16>&, const float*, int64_t, int64_t);

}  // namespace reluxfast
