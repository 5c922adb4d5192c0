#include "cpu/mlp_network.h"

#define RF_KERNEL_FILE "cpu/mlp_product.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
int64_t mlp_panel() {
  RF_DISPATCH(mlp_panel<T>())
}

template int64_t mlp_panel<float>();
template int64_t mlp_panel<double>();

}  // namespace reluxfast
