// Includes RF_KERNEL_FILE once per instruction set, each time in a namespace of that name with its own Vec types.
// Standard headers must be included before this one, so that none of their code is compiled for a newer machine.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "common/bits.h"
#include "common/dtypes.h"
#include "cpu/isa.h"
#if RF_X86
#include <immintrin.h>
#endif

#define RF_ISA baseline
#define RF_VECTOR_BYTES 16
#include "common/arithmetic.h"
#include "cpu/simd_vector.h"
#include RF_KERNEL_FILE
#undef RF_VECTOR_BYTES
#undef RF_ISA

#if RF_X86

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#define RF_ISA avx2
#define RF_VECTOR_BYTES 32
#include "common/arithmetic.h"
#include "cpu/simd_vector.h"
#include RF_KERNEL_FILE
#undef RF_VECTOR_BYTES
#undef RF_ISA
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#else
// GCC 12's own AVX-512 headers pass an undefined register on purpose and are warned about.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#endif
#define RF_ISA avx512
#include "common/arithmetic.h"
#include "cpu/simd_avx512.h"
#include RF_KERNEL_FILE
#undef RF_ISA
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif

#endif  // RF_X86
