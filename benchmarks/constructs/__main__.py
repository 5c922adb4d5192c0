"""Measures the table, prints it, and on request puts it into the documentation."""

from __future__ import annotations

import argparse
from pathlib import Path

from reluxfast.benchmarks.constructs.measure import as_markdown, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "swap-in.md"
BEGIN, END = "<!-- constructs: begin -->", "<!-- constructs: end -->"


def written(text: str, markdown: str) -> str:
    """A document with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    markdown = as_markdown(table())
    if parser.parse_args().write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), markdown))
    print(markdown)


if __name__ == "__main__":
    main()
