"""The labelling page of a project: what people may say, and with which tools, for each kind of question.

A project that somebody else made may be adopted if it offers the same controls and labels; more of them are
left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from hilum.adapters.planes import colour_of
from hilum.core.errors import DataError, RecipeError

Kind = Literal["segment", "scribble", "points", "boxes", "classify"]
"""segment: outline all of it; scribble, points, boxes: weak labels of the same question; classify: what is this?"""

Meaning = Literal["mask", "point", "box", "page", "class"]

IMAGE, PAGES_KEY = "image", "pages"
"""The image tag's name, and the key of a task's data that lists the addresses of its pages."""

NOTHING_HERE, UNUSABLE = "nothing here", "unusable"
RESERVED = (NOTHING_HERE, UNUSABLE)
"""hilum's own answers: no class may have these names."""

BACKGROUND_COLOUR = "#9aa0a6"
_LONGEST_NAME = 100
_LONGEST_CONFIG = 1 << 20


@dataclass(frozen=True)
class Control:
    """One tool of the page. ``region`` is the type its results have; ``value`` names their label's key."""

    name: str
    tag: str
    region: str
    meaning: Meaning
    has_background: bool = False
    attributes: str = ""
    is_offered: bool = True

    def labels(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """What this control offers for these classes, the background first if it is one of them."""
        match self.meaning:
            case "page":
                return RESERVED
            case "class":
                return (*class_names, UNUSABLE)
            case _:
                return tuple(class_names) if self.has_background else tuple(class_names[1:])


_PAGE = Control("page", "Choices", "choices", "page", attributes='perItem="true" choice="single" showInline="true"')
_BRUSH = Control("brush", "BrushLabels", "brushlabels", "mask")
_SHAPES = (
    Control("polygon", "PolygonLabels", "polygonlabels", "mask"),
    Control("rectangle", "RectangleLabels", "rectanglelabels", "mask", attributes='smart="true"'),
    Control("ellipse", "EllipseLabels", "ellipselabels", "mask", is_offered=False),
    Control("bitmask", "BitmaskLabels", "bitmasklabels", "mask", is_offered=False),
)

CONTROLS: Mapping[Kind, tuple[Control, ...]] = {
    "segment": (
        _BRUSH,
        *_SHAPES,
        Control("point", "KeyPointLabels", "keypointlabels", "point", has_background=True, attributes='smart="true"'),
        _PAGE,
    ),
    "scribble": (Control("brush", "BrushLabels", "brushlabels", "mask", has_background=True), _PAGE),
    "points": (Control("point", "KeyPointLabels", "keypointlabels", "point", has_background=True), _PAGE),
    "boxes": (Control("box", "RectangleLabels", "rectanglelabels", "box", attributes='canRotate="false"'), _PAGE),
    "classify": (Control("class", "Choices", "choices", "class", attributes='choice="single" showInline="true"'),),
}
"""Of every kind of question: what is read. What is not offered is read from projects that offer it."""


@dataclass(frozen=True)
class Found:
    """One control of a project's configuration."""

    tag: str
    to_name: str
    labels: tuple[str, ...]


def checked_classes(kind: Kind, class_names: Sequence[str]) -> tuple[str, ...]:
    """The class names, if a project can offer them; RecipeError says which one it cannot."""
    if len(class_names) < 2:
        raise RecipeError(f"A question of kind '{kind}' needs two classes or more; given {len(class_names)}.")
    for name in class_names:
        if not name.strip() or name != name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise RecipeError(
                f"No class can be called {name[:_LONGEST_NAME]!r}: give 1 to {_LONGEST_NAME} printable characters "
                "without spaces around them."
            )
        if name.startswith("$"):
            raise RecipeError(f"No class can be called '{name}': Label Studio takes '$' for a key of the task's data.")
    folded = [name.casefold() for name in class_names]
    for name, low in zip(class_names, folded, strict=True):
        if low in RESERVED:
            raise RecipeError(f"'{name}' is one of hilum's own answers ({', '.join(RESERVED)}); rename the class.")
        if folded.count(low) > 1:
            raise RecipeError(f"Two classes are called '{name}'; rename one.")
    return tuple(class_names)


def labelling_config(kind: Kind, class_names: Sequence[str]) -> str:
    """The configuration (XML) of a project that asks this kind of question about these classes.

    ``class_names[0]`` is the background of every kind but 'classify'. Names are escaped; a class keeps its colour
    whatever it is called.
    """
    names = checked_classes(kind, class_names)
    offered = [_control(control, names) for control in CONTROLS[kind] if control.is_offered]
    image = (
        f'  <Image name="{IMAGE}" valueList="${PAGES_KEY}" zoom="true" zoomControl="true" '
        'brightnessControl="true" contrastControl="true" rotateControl="false" smoothing="false"/>'
    )
    return "\n".join(["<View>", *offered, image, "</View>"]) + "\n"


def parse_config(xml: str) -> dict[str, Found]:
    """The controls of a project's configuration by name, whoever wrote it; the image is among them, without labels."""
    if len(xml) > _LONGEST_CONFIG or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise DataError(
            f"The project's labelling configuration is longer than {_LONGEST_CONFIG:,} characters or declares "
            "entities; hilum reads plain tags only."
        )
    try:
        root = ET.fromstring(xml)  # noqa: S314 (no entities: refused above)
    except (ET.ParseError, ValueError) as error:
        raise DataError(f"The project's labelling configuration is no XML: {error}.") from None
    found: dict[str, Found] = {}
    for element in root.iter():
        name = element.get("name")
        if name is None:
            continue
        labels = tuple(
            child.get("alias") or child.get("value") or ""
            for child in element.iter()
            if child.tag in {"Label", "Choice"}
        )
        found[name] = Found(element.tag, element.get("toName", ""), labels)
    return found


def check_config(xml: str, kind: Kind, class_names: Sequence[str]) -> frozenset[str]:
    """Whether a project's configuration can ask this question; its further controls, which hilum does not read.

    DataError lists everything that is missing, at once.
    """
    found = parse_config(xml)
    wanted = {control.name: control for control in CONTROLS[kind]}
    image = found.get(IMAGE)
    missing = []
    if image is None or image.tag != "Image":
        missing.append(f"an Image called '{IMAGE}'")
    for control in wanted.values():
        missing += _missing(control, found.get(control.name), class_names)
    if missing:
        raise DataError(
            f"The project's labelling configuration cannot ask '{kind}': it lacks {'; '.join(missing)}. "
            "Add this to the project's labelling interface, or let hilum make a project of its own."
        )
    return frozenset(set(found) - set(wanted) - {IMAGE})


def colour(kind: Kind, class_id: int) -> str:
    """The colour of a class, the same in every project, picture and report."""
    if kind == "classify":
        return colour_of(class_id + 1)
    return BACKGROUND_COLOUR if class_id == 0 else colour_of(class_id)


def _control(control: Control, class_names: Sequence[str]) -> str:
    attributes = f" {control.attributes}" if control.attributes else ""
    lines = [f'  <{control.tag} name="{control.name}" toName="{IMAGE}"{attributes}>']
    for label in control.labels(class_names):
        if control.tag == "Choices":
            lines.append(f"    <Choice value={_quoted(label)}/>")
        else:
            smart = ' smart="true"' if "smart" in control.attributes else ""
            shade = colour("segment", list(class_names).index(label))
            lines.append(f'    <Label value={_quoted(label)} background="{shade}"{smart}/>')
    lines.append(f"  </{control.tag}>")
    if control.tag == "Choices":
        return "\n".join(lines)
    # Every tool has the same labels: without its name nobody knows which row draws how.
    named = f'    <Header value="{control.name}" size="5" style="min-width: 6em; margin: 0"/>'
    return "\n".join(['  <View style="display: flex; align-items: baseline">', named, *lines, "  </View>"])


def _quoted(text: str) -> str:
    # Always in double quotes: quoteattr would choose single ones around a double one.
    return '"' + quoteattr(text + "'")[1:-2].replace('"', "&quot;") + '"'


def _missing(control: Control, found: Found | None, class_names: Sequence[str]) -> Iterable[str]:
    if found is None:
        if control.is_offered:
            yield f"a {control.tag} called '{control.name}'"
        return
    if found.tag != control.tag or found.to_name != IMAGE:
        yield f"a {control.tag} called '{control.name}' for '{IMAGE}' (there is a {found.tag} for '{found.to_name}')"
        return
    absent = [label for label in control.labels(class_names) if label not in found.labels]
    if absent:
        yield f"in '{control.name}' the labels {', '.join(map(repr, absent))}"
