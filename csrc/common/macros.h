// What host and device compilers call the same thing; every other file of common/ uses only these names.
#pragma once

#if defined(__CUDACC__)
#define RF_INLINE __host__ __device__ __forceinline__
#else
#define RF_INLINE inline __attribute__((always_inline))
#endif

#define RF_PRAGMA(text) _Pragma(#text)
#if defined(__CUDA_ARCH__) || defined(__clang__)
#define RF_UNROLL(n) RF_PRAGMA(unroll n)
#elif defined(__CUDACC__)
// nvcc's host pass understands neither spelling, and only launches.
#define RF_UNROLL(n)
#else
#define RF_UNROLL(n) RF_PRAGMA(GCC unroll n)
#endif
