"""The demonstration: two small networks trained on images at hand, explained, checked and drawn."""

from .run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
