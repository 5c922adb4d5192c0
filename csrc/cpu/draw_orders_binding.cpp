#include "binding/draw_orders.h"
#include "cpu/draw_orders.h"
#include "cpu/parallel.h"

namespace reluxfast {
namespace {

// Draws that one thread should get at least: each costs some nanoseconds.
constexpr int64_t kGrainDraws = 4096;

struct Cpu {
  static void run(const DrawOrders& a, const Tensor&) {
    for (int64_t r = 0; r < a.row_count; ++r) {
      STD_TORCH_CHECK(a.rows[r] >= 0 && a.rows[r] < kWords, "rows must lie between 0 and 2**32 - 1, got ", a.rows[r]);
    }
    const int64_t units = a.row_count * a.count;
    if (units == 0 || a.n == 0) return;
    torch::stable::parallel_for(0, units, 1 + kGrainDraws / a.n,
                                [&](int64_t begin, int64_t end) { draw_orders_units(a, begin, end); });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("draw_orders", TORCH_BOX(&reluxfast::draw_orders<reluxfast::Cpu>));
}
