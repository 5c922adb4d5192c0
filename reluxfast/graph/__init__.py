"""Capture: a network as a small typed graph of values."""

from reluxfast.graph.capture import capture
from reluxfast.graph.node import BATCH, Graph, Node, Ref

__all__ = ["BATCH", "Graph", "Node", "Ref", "capture"]
