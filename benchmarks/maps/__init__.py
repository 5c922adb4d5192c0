"""Maps: a value for each pixel of an image."""

from reluxfast.benchmarks.maps.problem import CASES

__all__ = ["CASES"]
