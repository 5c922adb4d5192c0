"""The demonstration: two small networks trained on images at hand, explained, checked and drawn."""

from reluxfast.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
