"""Small pieces of HTML. Everything that is not markup is escaped. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table."""

    text: str
    style: str = ""
    """Classes of the style sheet."""


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell | str]], words_from: int = 99) -> str:
    """Return a table.

    Args:
        heads: Names of its columns.
        rows: Their cells; the first of each names the row.
        words_from: Column from which on cells are words, not numbers.
    """
    kinds = ["" if not column or column >= words_from else "n" for column in range(len(heads))]
    head = "".join(f"<th{_class(kind)}>{escape(name)}</th>" for kind, name in zip(kinds, heads, strict=True))
    body = "".join(f"<tr>{''.join(map(_cell, row, kinds))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values, without those that are empty."""
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in pairs if value)
    return f'<div class="scroll"><table><tbody>{"".join(rows)}</tbody></table></div>'


def cards(pairs: Iterable[tuple[str, str]], *, main: int = 1) -> str:
    """Return figures to see first, of which the first `main` stand out."""
    shown = (
        f'<div class="card{" main" if index < main else ""}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for index, (name, value) in enumerate(pairs)
    )
    return f'<div class="cards">{"".join(shown)}</div>'


def warnings(lines: Sequence[str]) -> str:
    """Return a box with warnings; nothing where there is none."""
    if not lines:
        return ""
    return f'<div class="warnings"><ul>{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul></div>'


def section(title: str, *parts: str) -> str:
    """Return a section; nothing where it would have no content."""
    content = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def moment(created: str) -> str:
    """Return a record's time for people."""
    return created.replace("T", " ").replace("+00:00", " UTC")


def _cell(cell: Cell | str, kind: str) -> str:
    content = cell if isinstance(cell, Cell) else Cell(cell)
    return f"<td{_class(f'{kind} {content.style}'.strip())}>{escape(content.text)}</td>"


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""
