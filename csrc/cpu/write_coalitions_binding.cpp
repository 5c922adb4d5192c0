#include <algorithm>

#include "binding/write_coalitions.h"
#include "cpu/parallel.h"
#include "cpu/write_coalitions.h"

namespace reluxfast {
namespace {

// Every `stride`-th of the values, of which there are `count` at least one, must be an index below `limit`.
void check_range(const char* what, const int32_t* values, int64_t stride, int64_t count, const char* size,
                 int64_t limit) {
  int32_t low = values[0], high = values[0];
  for (int64_t i = 1; i < count; ++i) {
    low = std::min(low, values[i * stride]);
    high = std::max(high, values[i * stride]);
  }
  STD_TORCH_CHECK(low >= 0 && high < limit, what, " must lie between 0 and ", size, " - 1 = ", limit - 1, ", got ",
                  low < 0 ? low : high);
}

struct Cpu {
  template <class T, class S>
  static void run(const WriteCoalitions<T, S>& a, const Tensor&) {
    check_range("labels", a.labels, 1, a.d, "n", a.players);
    check_range("rows in jobs", a.jobs + kRow, kJobFields, a.count, "N", a.rows);
    check_range("bases in jobs", a.jobs + kBase, kJobFields, a.count, "B", a.bases);
    check_range("orders in jobs", a.jobs + kOrder, kJobFields, a.count, "P", a.orders);
    const FoundPlayers players(a.labels, a.d);
    torch::stable::parallel_for(0, a.count, std::max<int64_t>(1, kGrain / a.d), [&](int64_t begin, int64_t end) {
      write_coalitions_rows(a, players.view(), begin, end);
    });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("write_coalitions_", TORCH_BOX(&reluxfast::write_coalitions_<reluxfast::Cpu>));
}
