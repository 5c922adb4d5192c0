"""How libraries explain networks that are written in different ways: right, refused, or wrong; every cell measured.

python -m reluxfast.benchmarks.constructs            # prints the table
python -m reluxfast.benchmarks.constructs --write    # and puts it into docs/swap-in.md
"""
