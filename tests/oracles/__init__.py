"""Oracles: the methods' definitions written down literally, in float64, sharing no code with the package."""
