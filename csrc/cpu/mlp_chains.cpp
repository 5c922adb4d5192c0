#include "cpu/mlp_chains.h"

#define RF_KERNEL_FILE "cpu/mlp_chains_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
void mlp_direct(const MlpChains<T>& a, const MlpNetwork<T>& net, ChainScratch<T>& scratch, const T* inputs, T* z, T* f,
                int64_t begin, int64_t end) {
  RF_DISPATCH(mlp_direct(a, net, scratch, inputs, z, f, begin, end))
}

template <class T>
void mlp_chain_pairs(const MlpChains<T>& a, const MlpNetwork<T>& net, ChainScratch<T>& scratch, const T* z_x,
                     const T* z_b, int64_t begin,
                     int64_t end){RF_DISPATCH(mlp_chain_pairs(a, net, scratch, z_x, z_b, begin, end))}

#define RF_INSTANTIATE(T)                                                                                          \
  template void mlp_direct(const MlpChains<T>&, const MlpNetwork<T>&, ChainScratch<T>&, const T*, T*, T*, int64_t, \
                           int64_t);                                                                               \
  template void mlp_chain_pairs(const MlpChains<T>&, const MlpNetwork<T>&, ChainScratch<T>&, const T*, const T*,   \
                                int64_t, int64_t);
RF_INSTANTIATE(float) RF_INSTANTIATE(double)

}  // namespace reluxfast
