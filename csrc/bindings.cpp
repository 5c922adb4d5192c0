#include <Python.h>

#include "cpu/isa.h"

// The instruction set of the CPU kernels, for reluxfast.ops.native.
extern "C" __attribute__((visibility("default"))) const char* reluxfast_cpu_isa(void) {
  return reluxfast::cpu_isa_name();
}

// 1 where the CUDA kernels are part of the library, else 0, for reluxfast.ops.native.
extern "C" __attribute__((visibility("default"))) int reluxfast_has_cuda(void) {
#ifdef USE_CUDA
  return 1;
#else
  return 0;
#endif
}

// Importing this module loads the library, whose static initialisers register the kernels; it has no contents.
extern "C" __attribute__((visibility("default"))) PyObject* PyInit__C(void) {
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
