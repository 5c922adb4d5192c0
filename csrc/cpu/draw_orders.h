// The CPU loops of draw_orders.
#pragma once

#include <cstdint>

#include "common/draw_orders.h"

namespace reluxfast {

// Orders begin .. end - 1 of the row_count * count there are.
void draw_orders_units(const DrawOrders& a, int64_t begin, int64_t end);

}  // namespace reluxfast
