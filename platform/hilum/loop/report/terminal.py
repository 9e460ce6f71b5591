"""The comparison as a table for the terminal."""

from rich.table import Table
from rich.text import Text

from hilum.loop.comparison import Comparison
from hilum.loop.findings import findings, headed, metric_title
from hilum.loop.report.tables import Cell, rows


def summary_table(comparison: Comparison, *, title: str, report: str = "") -> Table:
    """Strategy, final score, area, labels to random's final score and the saving; below it, who won."""
    found = findings(comparison)
    caption = Text(found.headline, style="bold" if found.winner else "")
    if report:
        caption.append(f"\nReport: {report}", style="not bold")
    table = Table(title=Text(title), caption=caption, caption_justify="left", title_justify="left")
    table.add_column("Strategy")
    for heading in (
        f"{headed(metric_title(comparison.metric))}\nat {comparison.high_labels:,} labels",
        "Average\nover the curve",
        "Labels to\nrandom's final",
        "Share of\nrandom's labels",
    ):
        table.add_column(heading, justify="right")
    for row in rows(comparison):
        cells = (row.final, row.area, row.needed[0], row.savings[0])
        table.add_row(Text(row.strategy), *map(_cell, cells))
    return table


def _cell(cell: Cell) -> Text:
    text = Text(cell.text)
    if cell.detail:
        text.append(f"\n{cell.detail}", style="dim")
    return text
