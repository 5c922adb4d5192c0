// The ops on CUDA tensors: checks and allocation are those of binding/, the kernels those of cuda/.
#include <cuda_runtime_api.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include "binding/gate.h"
#include "binding/max_pool.h"
#include "binding/mlp_chains.h"
#include "binding/relu_pack.h"
#include "binding/soft_gate.h"
#include "binding/soft_gate_pack.h"
#include "binding/write_coalitions.h"
#include "cuda/launchers.h"

namespace reluxfast {
namespace {

// Calls launch(stream) with the device of `on` current and the stream that torch uses there.
template <class Launch>
void launch_on(const Tensor& on, const Launch& launch) {
  const int32_t device = on.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  // Stream::nativeHandle needs torch 2.13.
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  STD_CUDA_CHECK(launch(static_cast<cudaStream_t>(stream)));
}

struct Cuda {
  template <class T>
  static void run(const ReluPack<T>& a, const Tensor& x) {
    launch_on(x, [&](cudaStream_t stream) { return cuda::launch_relu_pack(a, stream); });
  }

  template <class T>
  static void run(const Gate<T>& a, const Tensor& g) {
    launch_on(g, [&](cudaStream_t stream) { return cuda::launch_gate(a, stream); });
  }

  template <class T>
  static void run(const PoolPack<T>& a, const Tensor& x) {
    launch_on(x, [&](cudaStream_t stream) { return cuda::launch_max_pool_pack(a, stream); });
  }

  template <class T>
  static void run(const PoolScatter<T>& a, const Tensor& g) {
    launch_on(g, [&](cudaStream_t stream) { return cuda::launch_max_pool_scatter(a, stream); });
  }

  template <class T>
  static void run(const SoftGatePack<T>& a, const Tensor& z) {
    launch_on(z, [&](cudaStream_t stream) { return cuda::launch_soft_gate_pack(a, stream); });
  }

  template <class T>
  static void run(const SoftGate<T>& a, const Tensor& g) {
    launch_on(g, [&](cudaStream_t stream) { return cuda::launch_soft_gate(a, stream); });
  }

  template <class T, class S>
  static void run(const WriteCoalitions<T, S>& a, const Tensor& x) {
    launch_on(x, [&](cudaStream_t stream) { return cuda::launch_write_coalitions(a, stream); });
  }

  template <class T>
  static void run(const MlpChains<T>& a, const Tensor& x) {
    std::optional<Tensor> memory;
    // Freed before the kernels are done, it goes to what comes after them on the same stream.
    const auto allocate = [&](int64_t bytes) { return memory.emplace(empty_bytes(x, bytes)).mutable_data_ptr(); };
    launch_on(x, [&](cudaStream_t stream) { return cuda::launch_mlp_chains(a, allocate, stream); });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CUDA, m) {
  m.impl("relu_pack", TORCH_BOX(&reluxfast::relu_pack<reluxfast::Cuda>));
  m.impl("relu_pack_", TORCH_BOX(&reluxfast::relu_pack_<reluxfast::Cuda>));
  m.impl("gate", TORCH_BOX(&reluxfast::gate<reluxfast::Cuda>));
  m.impl("gate_", TORCH_BOX(&reluxfast::gate_<reluxfast::Cuda>));
  m.impl("max_pool_pack", TORCH_BOX(&reluxfast::max_pool_pack<reluxfast::Cuda>));
  m.impl("max_pool_scatter", TORCH_BOX(&reluxfast::max_pool_scatter<reluxfast::Cuda>));
  m.impl("soft_gate_pack", TORCH_BOX(&reluxfast::soft_gate_pack<reluxfast::Cuda>));
  m.impl("soft_gate_pack_", TORCH_BOX(&reluxfast::soft_gate_pack_<reluxfast::Cuda>));
  m.impl("soft_gate", TORCH_BOX(&reluxfast::soft_gate<reluxfast::Cuda>));
  m.impl("soft_gate_", TORCH_BOX(&reluxfast::soft_gate_<reluxfast::Cuda>));
  m.impl("write_coalitions_", TORCH_BOX(&reluxfast::write_coalitions_<reluxfast::Cuda>));
  m.impl("mlp_chains", TORCH_BOX(&reluxfast::mlp_chains<reluxfast::Cuda>));
}
