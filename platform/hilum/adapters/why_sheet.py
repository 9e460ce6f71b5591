"""One candidate as a picture: itself, what the model drafts, and the labelled candidate most like it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hilum.adapters.contact_sheet import png_of
from hilum.adapters.overview_plots import STYLE
from hilum.adapters.planes import Picture, colour_of

_SIDE_INCHES = 2.5
_LINE_INCHES = 0.16
_LETTERS_AN_INCH = 15
_TITLE_LETTERS = 32
_LEAST_INCHES = 5.0
_MOST_NAMED = 8


@dataclass(frozen=True)
class Column:
    """Pictures under one title, (name of the plane, picture) from the top; none for what is only said in words."""

    title: str
    pictures: tuple[tuple[str, Picture], ...]


def why_png(lines: Sequence[str], columns: Sequence[Column], classes: Sequence[tuple[int, str]] = ()) -> bytes:
    """``lines`` of text above the columns, side by side; ``classes`` (id, name) name the colours that are drawn."""
    num_rows = max(len(column.pictures) for column in columns)
    width = max(_LEAST_INCHES, _SIDE_INCHES * len(columns))
    wrapped = [part for line in lines for part in textwrap.wrap(line, int(width * _LETTERS_AN_INCH))]
    above = _LINE_INCHES * len(wrapped) + 0.1
    below = 0.35 if classes else 0.05
    height = above + num_rows * (_SIDE_INCHES + 0.1) + 0.45 + below
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), facecolor="white")
        figure.text(0.08 / width, 1 - 0.08 / height, "\n".join(wrapped), va="top", fontsize=8, linespacing=1.4)
        places = figure.subplots(num_rows, len(columns), squeeze=False)
        figure.subplots_adjust(
            left=0.3 / width,
            right=1 - 0.05 / width,
            top=1 - (above + 0.45) / height,
            bottom=below / height,
            wspace=0.05,
            hspace=0.08,
        )
        for across, column in enumerate(columns):
            for down in range(num_rows):
                axes = places[down, across]
                axes.set_xticks([])
                axes.set_yticks([])
                if down >= len(column.pictures):
                    axes.set_axis_off()
                    continue
                name, picture = column.pictures[down]
                axes.imshow(picture)
                if across == 0:
                    axes.set_ylabel(name, fontsize=8)
                if down == 0:
                    title = "\n".join(textwrap.wrap(column.title, _TITLE_LETTERS))
                    axes.set_title(title, fontsize=8, fontweight="normal")
        if classes:
            handles = [Patch(color=colour_of(class_id), label=name) for class_id, name in classes[:_MOST_NAMED]]
            figure.legend(handles=handles, loc="lower left", ncols=_MOST_NAMED, frameon=False, fontsize=8)
        return png_of(figure)
