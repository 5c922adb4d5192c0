"""Triton kernels of reluxfast, one file per op family; installed and imported as `reluxfast.kernels` only."""
