"""Micro-benchmarks of every op, by pytest-benchmark: `pytest benchmarks/micro --benchmark-json out.json`."""
