#include "binding/max_pool.h"
#include "cpu/gate.h"
#include "cpu/max_pool.h"
#include "cpu/parallel.h"

namespace reluxfast {
namespace {

struct Cpu {
  template <class T>
  static void run(const PoolPack<T>& a, const Tensor&) {
    torch::stable::parallel_for(0, (a.numel_out() + kPoolChunk - 1) / kPoolChunk, kGrain / kPoolChunk,
                                [&](int64_t begin, int64_t end) { pool_pack_chunks(a, begin, end); });
  }

  template <class T>
  static void run(PoolScatter<T> a, const Tensor& g) {
    Tensor gated;
    // A byte has no value left to mark a dropped winner among 256 taps, so g is gated beforehand.
    if (a.mask != nullptr && a.pool.taps() == 256) {
      gated = torch::stable::new_empty(g, {g.numel()});
      T* out = static_cast<T*>(gated.mutable_data_ptr());
      const Gate<T> gate{a.g, out, nullptr, a.mask, g.numel() / a.period(), a.period(), 1};
      gate_words(gate, 0, gate.repeats * gate.words_per_repeat());
      a.g = out;
      a.mask = nullptr;
    }
    const int64_t grain = kGrain / (a.pool.width.size * a.pool.channels) + 1;
    torch::stable::parallel_for(0, a.rows(), grain,
                                [&](int64_t begin, int64_t end) { pool_scatter_rows(a, begin, end); });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("max_pool_pack", TORCH_BOX(&reluxfast::max_pool_pack<reluxfast::Cpu>));
  m.impl("max_pool_scatter", TORCH_BOX(&reluxfast::max_pool_scatter<reluxfast::Cpu>));
}
