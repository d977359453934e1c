"""Tables in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Cell = str | int | float


@dataclass
class Table:
    """One part of the matrix."""

    title: str
    head: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list[list[Cell]])
    note: str = ""

    def add(self, *cells: Cell) -> None:
        assert len(cells) == len(self.head)
        self.rows.append(list(cells))

    def __str__(self) -> str:
        lines = [f"### {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += [_line(self.head), "|---" * len(self.head) + "|", *(_line(map(_shown, row)) for row in self.rows)]
        return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(cell: Cell) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
