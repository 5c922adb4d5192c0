"""Benchmarks of reluxfast: speed behind a correctness gate, bytes kept on the tape, capture time. See README.md."""
