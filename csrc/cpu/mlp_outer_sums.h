// The CPU loops of mlp_outer_sums.
#pragma once

#include <cstdint>

#include "common/mlp_outer_sums.h"
#include "cpu/mlp_scratch.h"

namespace reluxfast {

// Rows begin .. end - 1 of y's. `low` has rows of whole lines, as many as the first layer has columns.
template <class T>
void mlp_sum_rows(const MlpOuterSums<T>& a, const MlpNetwork<T>& net, MlpScratch<T>& scratch, const T* low,
                  int64_t begin, int64_t end);

}  // namespace reluxfast
