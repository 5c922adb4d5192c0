"""Maps: a value for each pixel of an image."""

from reluxfast.benchmarks.maps.problem import CASES, LRP_COMPOSITES

__all__ = ["CASES", "LRP_COMPOSITES"]
