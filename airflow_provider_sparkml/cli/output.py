"""What commands print: for a person on a terminal in colour and in place, for anything else as plain lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

Row = Sequence[str]


@contextlib.contextmanager
def progress_line(title: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the newest line of some work: in place on a terminal, else one line each."""
    console = Console()
    if not console.is_terminal:
        yield lambda line: console.print(f"{title}: {line}", markup=False, highlight=False, soft_wrap=True)
        return
    with console.status(title) as status:
        yield lambda line: status.update(f"{title}: {line}"[: console.width - 3].replace("[", r"\["))


def print_table(title: str, headings: Row, rows: Sequence[Row]) -> None:
    """Print a table, as text in columns where nobody sees lines and colours."""
    console = Console()
    if not rows:
        print(f"{title}: none")
        return
    if console.is_terminal:
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(cell.replace("[", r"\[") for cell in row))
        console.print(table)
        return
    print(f"{title}:")
    for line in in_columns([[heading.upper() for heading in headings], *rows]):
        print(f"  {line}")


def in_columns(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines in which every column is as wide as its longest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
