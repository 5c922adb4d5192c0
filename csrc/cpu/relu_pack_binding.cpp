#include "cpu/relu_pack.h"
#include "cpu/tensors.h"

namespace reluxfast {
namespace {

void check(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& residual) {
  check_dtype("x", x);
  if (bias) {
    STD_TORCH_CHECK(bias->is_cpu() && bias->scalar_type() == x.scalar_type(), "bias must have x's dtype and device");
    STD_TORCH_CHECK(x.dim() >= 2 && bias->dim() == 1 && bias->size(0) == x.size(1),
                    "bias must have shape (C,) for x of shape (N, C, ...), got ", text(sizes_of(*bias)),
                    " for x of shape ", text(sizes_of(x)));
  }
  if (residual) check_like("residual", *residual, "x", x);
}

// The bias in the accumulation type, repeated cyclically so that a word may start at any channel.
template <class T>
class ExtendedBias {
 public:
  explicit ExtendedBias(const Tensor& bias) : values_(bias.numel() + kWord + kAlignment / sizeof(Accumulation<T>)) {
    const Tensor dense_bias = torch::stable::contiguous(bias);
    const T* from = static_cast<const T*>(dense_bias.const_data_ptr());
    const int64_t channels = bias.numel();
    for (int64_t k = 0; k < channels + kWord; ++k) data()[k] = widen(from[k % channels]);
  }

  // Aligned, so that no register of bias straddles two cache lines.
  Accumulation<T>* data() {
    const auto address = reinterpret_cast<uintptr_t>(values_.data());
    return values_.data() + (kAlignment - address % kAlignment) % kAlignment / sizeof(Accumulation<T>);
  }

 private:
  static constexpr size_t kAlignment = 64;
  std::vector<Accumulation<T>> values_;
};

// x and y are dense in the same order; y may be x.
Tensor run(const Tensor& x, const Tensor& y, bool channels_last, const std::optional<Tensor>& bias,
           const std::optional<Tensor>& residual, double lo, double hi, bool pack) {
  const int64_t numel = x.numel();
  Tensor mask = empty_bytes(x, pack ? packed_bytes(numel, 1) : 0);
  if (numel == 0) return mask;
  Tensor residual_dense;
  if (residual) residual_dense = in_order(*residual, channels_last);
  dispatch_dtype(x, [&](auto zero) {
    using Storage = decltype(zero);
    std::optional<ExtendedBias<Storage>> bias_values;
    if (bias) bias_values.emplace(*bias);
    ReluPack<Storage> a;
    a.x = static_cast<const Storage*>(x.const_data_ptr());
    a.y = static_cast<Storage*>(y.mutable_data_ptr());
    a.residual = residual ? static_cast<const Storage*>(residual_dense.const_data_ptr()) : nullptr;
    a.mask = pack ? static_cast<uint8_t*>(mask.mutable_data_ptr()) : nullptr;
    a.bias = bias ? bias_values->data() : nullptr;
    a.numel = numel;
    a.channels = bias ? x.size(1) : 1;
    a.inner = !bias || channels_last ? 1 : numel / (x.size(0) * x.size(1));
    a.lo = static_cast<Accumulation<Storage>>(lo);
    a.hi = static_cast<Accumulation<Storage>>(hi);
    torch::stable::parallel_for(0, (numel + kWord - 1) / kWord, kGrain / kWord,
                                [&](int64_t begin, int64_t end) { relu_pack_words(a, begin, end); });
  });
  return mask;
}

std::tuple<Tensor, Tensor> relu_pack(const Tensor& x, std::optional<Tensor> bias, std::optional<Tensor> residual,
                                     double lo, double hi, bool pack) {
  check(x, bias, residual);
  const Dense in = dense(x);
  const Tensor y = empty_in_order(x, sizes_of(x), in.channels_last);
  const Tensor mask = run(in.tensor, y, in.channels_last, bias, residual, lo, hi, pack);
  return {y, mask};
}

Tensor relu_pack_(const Tensor& x, std::optional<Tensor> bias, std::optional<Tensor> residual, double lo, double hi,
                  bool pack) {
  check(x, bias, residual);
  check_dense("x", x);
  return run(x, x, is_channels_last(x), bias, residual, lo, hi, pack);
}

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("relu_pack", TORCH_BOX(&reluxfast::relu_pack));
  m.impl("relu_pack_", TORCH_BOX(&reluxfast::relu_pack_));
}
