"""Two records side by side, as HTML. Pure."""

from collections.abc import Iterator, Sequence
from html import escape

from vecserve_bench.comparison import Comparison, Row, compare, pair_name
from vecserve_bench.figures import number
from vecserve_bench.record import Record
from vecserve_bench.report.markup import Cell, moment, paragraph, section, table

_HEADS = ("", "before", "after", "ratio")


def compared(before: Record, after: Record) -> str:
    """Return a section with what changed, and what else is not the same."""
    comparison = compare(before, after)
    intro = f"Before: {before.title}, {moment(before.created)}. Ratios are after over before."
    return section("Compared", paragraph(intro, "dim"), *_figures(comparison), _differences(comparison))


def _figures(comparison: Comparison) -> Iterator[str]:
    if comparison.max_rate:
        yield table(_HEADS, [_row(comparison.max_rate)])
    for pair in comparison.pairs:
        yield f"<h3>{escape(pair_name(pair))}</h3>"
        yield table(_HEADS, map(_row, pair.rows))
    if not comparison.pairs and not comparison.max_rate:
        yield paragraph("The two have no load in common.")


def _row(row: Row) -> Sequence[Cell | str]:
    figures = ["-" if value is None else number(value) for value in (row.before, row.after)]
    style = "" if row.improved is None else "good" if row.improved else "bad"
    return (f"{row.name}, {row.unit}", *figures, Cell("-" if row.ratio is None else f"{row.ratio:.2f}", style))


def _differences(comparison: Comparison) -> str:
    if not comparison.differences:
        return paragraph("Settings, server and machine are the same.", "dim")
    rows = [(each.name, each.before, each.after) for each in comparison.differences]
    return "<h3>What else differs</h3>" + table(("", "before", "after"), rows, words_from=1)
