"""Tables in Markdown."""

import sys
from pathlib import Path


class Report:
    """What is printed as it comes, and written to a file too if there is one."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        if out:
            out.write_text("")

    def line(self, text: str = "") -> None:
        print(text, flush=True)
        if self.out:
            with self.out.open("a") as file:
                file.write(text + "\n")

    def begin(self, title: str, *columns: str) -> None:
        self.line(f"\n## {title}\n")
        self.row(*columns)
        self.row(*("---" for _ in columns))

    def row(self, *cells) -> None:
        self.line("| " + " | ".join(shown(cell) for cell in cells) + " |")

    @staticmethod
    def progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def shown(cell) -> str:
    if isinstance(cell, float):
        return f"{cell:,.1f}" if abs(cell) < 100 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
