// The CPU loops of soft_gate.
#pragma once

#include <cstdint>

#include "common/soft_gate.h"

namespace reluxfast {

// Words begin .. end - 1 of the repeats * words_per_repeat() there are.
template <class T>
void soft_gate_words(const SoftGate<T>& a, int64_t begin, int64_t end);

}  // namespace reluxfast
