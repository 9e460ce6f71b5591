"""The classes of a question as the tables of names and colours that programs read.

ITK-SNAP's label description file and 3D Slicer's colour table; label 0 is clear in both.
"""

from collections.abc import Sequence

from hilum.adapters.planes import rgb_of

ITK_SNAP_LABELS = "labels-itksnap.txt"
SLICER_COLOURS = "labels-slicer.ctbl"

_FIELDS = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
"""


def itk_snap_labels(class_names: Sequence[str]) -> str:
    """Segmentation > Import Label Descriptions."""
    rows = [
        (class_id, *_rgba(class_id), _one_line(name).replace('"', "'")) for class_id, name in enumerate(class_names)
    ]
    drawn = (f'{n:5d} {r:5d} {g:4d} {b:4d} {a:8d} {a:2d} {a:2d}    "{name}"\n' for n, r, g, b, a, name in rows)
    return _FIELDS + "".join(drawn)


def slicer_colours(class_names: Sequence[str]) -> str:
    """A colour node's table: number, name without spaces, red, green, blue, opacity (0 to 255)."""
    rows = ((class_id, _one_line(name).replace(" ", "_"), _rgba(class_id)) for class_id, name in enumerate(class_names))
    return "".join(f"{n} {name} {r} {g} {b} {255 * a}\n" for n, name, (r, g, b, a) in rows)


def _rgba(class_id: int) -> tuple[int, int, int, int]:
    return (0, 0, 0, 0) if class_id == 0 else (*rgb_of(class_id), 1)


def _one_line(name: str) -> str:
    return " ".join(name.split())
