// The CPU loops of soft_gate_pack.
#pragma once

#include <cstdint>

#include "common/bits.h"
#include "common/soft_gate_pack.h"

namespace reluxfast {

// Words begin .. end - 1 of 32 elements each. `bias` and `d_bias` are a.bias and a.d_bias in the accumulation type,
// [channels + kWord], repeated cyclically beyond channels, or null.
template <class T>
void soft_gate_pack_words(const SoftGatePack<T>& a, const Accumulation<T>* bias, const Accumulation<T>* d_bias,
                          int64_t begin, int64_t end);

}  // namespace reluxfast
