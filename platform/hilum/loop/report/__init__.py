"""The report of a simulation: one HTML file that asks nothing of the network.

`content` says what is shown, `gather` reads it from a store, `figures`, `gallery` and `tables`
draw it, `render` makes the page.
"""

from hilum.loop.report.content import Section
from hilum.loop.report.render import render, write_report
from hilum.loop.report.terminal import summary_table

__all__ = ["Section", "render", "summary_table", "write_report"]
