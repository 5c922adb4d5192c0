#include "cpu/mlp_outer_sums.h"

#define RF_KERNEL_FILE "cpu/mlp_outer_sums_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
void mlp_sum_rows(const MlpOuterSums<T>& a, const MlpNetwork<T>& net, MlpScratch<T>& scratch, const T* low,
                  int64_t begin, int64_t end){RF_DISPATCH(mlp_sum_rows(a, net, scratch, low, begin, end))}

#define RF_INSTANTIATE(T) \
  template void mlp_sum_rows(const MlpOuterSums<T>&, const MlpNetwork<T>&, MlpScratch<T>&, const T*, int64_t, int64_t);
RF_INSTANTIATE(float) RF_INSTANTIATE(double)

}  // namespace reluxfast
