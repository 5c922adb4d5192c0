// Each op on device pointers, for float, double, Half and BFloat16: starts a kernel on `stream` of the current device.
// There is at least one output element. The error is that of the launch, not of the kernel.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

#include "common/gate.h"
#include "common/max_pool.h"
#include "common/mlp_chains.h"
#include "common/relu_pack.h"
#include "common/soft_gate.h"
#include "common/soft_gate_pack.h"
#include "common/write_coalitions.h"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_relu_pack(const ReluPack<T>& a, cudaStream_t stream);

template <class T>
cudaError_t launch_gate(const Gate<T>& a, cudaStream_t stream);

template <class T>
cudaError_t launch_max_pool_pack(const PoolPack<T>& a, cudaStream_t stream);

template <class T>
cudaError_t launch_max_pool_scatter(const PoolScatter<T>& a, cudaStream_t stream);

template <class T>
cudaError_t launch_soft_gate_pack(const SoftGatePack<T>& a, cudaStream_t stream);

template <class T>
cudaError_t launch_soft_gate(const SoftGate<T>& a, cudaStream_t stream);

// T, S: unsigned integers of 2, 4 or 8 bytes, both the same; or float and a half type.
template <class T, class S>
cudaError_t launch_write_coalitions(const WriteCoalitions<T, S>& a, cudaStream_t stream);

// T: float or double. allocate(bytes): memory on the device for the kernels on `stream` alone, aligned to 256 bytes.
template <class T>
cudaError_t launch_mlp_chains(const MlpChains<T>& a, const std::function<void*(int64_t)>& allocate,
                              cudaStream_t stream);

}  // namespace cuda
}  // namespace reluxfast
