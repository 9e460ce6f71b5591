"""A Label Studio annotation as an answer to what was asked, or a refusal that says why: never neither.

Rules, in order (`docs/formats/label_studio.md`):

* Regions are painted in the order of the results, what a person drew or changed after what of the draft is untouched;
  a later region lies over an earlier one.
* segment: a page with paint is answered wholly, its unpainted voxels are background. scribble: only paint is
  answered. points: only the points' voxels. boxes: on a page with boxes, what no box touches is background.
* 'nothing here' answers a page as background; 'unusable' leaves it unanswered. Neither goes with regions on the same
  page, but untouched regions of the draft do not count against 'unusable'.
* A page of which nothing is said is unanswered. An annotation that answers nothing is refused.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.brush_rle import Mask
from hilum.adapters.label_studio.regions import NothingSaid, Region, is_touched, read_region, shown
from hilum.adapters.label_studio.template import NOTHING_HERE, UNUSABLE
from hilum.core.asking import IGNORE, Annotation, LabelMap
from hilum.core.errors import DataError
from hilum.core.geometry import Patch, Zyx

Verdict = Literal["answered", "unusable", "skipped"]
Review = Literal["none", "accepted", "rejected"]
PageAnswer = Literal["drawn", "nothing here", "unusable", "unanswered"]

MAX_RESULTS = 10_000

_FIRST_MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
_MAX_REVISION = (1 << 31) - 1
_UNIQUE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Point:
    """A voxel of the volume that somebody pointed at."""

    class_id: int
    voxel_zyx: Zyx


@dataclass(frozen=True)
class Box:
    """All voxels of the patch that a box touches, on one page."""

    class_id: int
    patch: Patch


@dataclass(frozen=True, eq=False)
class Answer:
    """One usable annotation.

    ``verdict``: 'answered' holds a class or a label map of the patch (`IGNORE` where unanswered); 'unusable' and
    'skipped' hold neither. ``revision`` is the seconds from 2020 to the last change, so a later change has a higher
    one. ``pages`` has one entry for each plane of the patch, in the array's order. ``overlapping_voxels`` were
    painted with several classes, the last of which stands. ``num_results`` counts regions and choices by what became
    of the draft ('manual', 'prediction', 'prediction-changed') and, beside it, those in the 'context' and 'erased'.
    """

    annotation_id: str
    revision: int
    annotator: str
    answered_at: datetime
    seconds: float
    verdict: Verdict
    review: Review = "none"
    draft_id: int | None = None
    class_id: int | None = None
    label_map_zyx: LabelMap | None = None
    pages: tuple[PageAnswer, ...] = ()
    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    overlapping_voxels: int = 0
    num_results: Mapping[str, int] = field(default_factory=dict)

    def annotation(self, patch: Patch) -> Annotation | None:
        """As the core keeps it; None where nothing was answered ('unusable', 'skipped').

        Points and scribbles are in the label map; of boxes the map holds the background around them only.
        """
        if self.verdict != "answered":
            return None
        return Annotation(
            annotation_id=self.annotation_id,
            revision=self.revision,
            patch=patch,
            annotator=self.annotator,
            answered_at=self.answered_at,
            seconds=self.seconds,
            class_id=self.class_id,
            label_map_zyx=self.label_map_zyx,
        )


def read_answer(annotation: object, asked: Asked, *, other_controls: Collection[str] = ()) -> Answer:
    """What an annotation (as the API gives it) answers; DataError, and nothing else, says why it cannot be used.

    Results of ``other_controls`` (`check_config` names them) are left alone: they are the project's own.
    """
    if not isinstance(annotation, Mapping):
        raise DataError("the annotation is no object of JSON")
    about = _about(annotation)
    if annotation.get("was_cancelled", False) is not False:
        if annotation["was_cancelled"] is not True:
            raise DataError("was_cancelled is neither true nor false")
        return Answer(**about, verdict="skipped")
    results = annotation.get("result")
    if not isinstance(results, list):
        raise DataError("the annotation has no list of results")
    if len(results) > MAX_RESULTS:
        raise DataError(f"the annotation has {len(results):,} results; allowed are {MAX_RESULTS:,}")
    ours = [(place, result) for place, result in enumerate(results) if not _is_of(result, other_controls)]
    if asked.kind == "classify":
        return Answer(**about, **_class_answer(ours, asked))
    return Answer(**about, **_map_answer(ours, asked))


def _class_answer(ours: list[tuple[int, object]], asked: Asked) -> dict[str, Any]:
    regions = [region for place, result in ours if isinstance(region := read_region(result, place, asked), Region)]
    labels = {region.label for region in regions}
    if not labels:
        raise DataError("no class was chosen")
    if len(labels) > 1:
        raise DataError(f"several classes were chosen: {', '.join(sorted(map(shown, labels)))}")
    counted = {"num_results": _counted(ours)}
    if labels == {UNUSABLE}:
        return {"verdict": "unusable", **counted}
    return {"verdict": "answered", "class_id": asked.class_names.index(labels.pop()), **counted}


def _map_answer(ours: list[tuple[int, object]], asked: Asked) -> dict[str, Any]:
    canvas = _Canvas(asked)
    said = Counter(_counted(ours))
    for place, result in sorted(ours, key=lambda numbered: (is_touched(numbered[1]), numbered[0])):
        region = read_region(result, place, asked)
        if isinstance(region, NothingSaid):
            said[region.why] += 1
        elif region.plane is not None:
            canvas.take(region.plane, region)
    pages = canvas.finish()
    answer = {"pages": pages, "num_results": dict(said)}
    if all(page == "unusable" for page in pages):
        return {"verdict": "unusable", **answer}
    if np.all(canvas.label_map_ZYX == IGNORE):
        raise DataError(_why_nothing(said, pages))
    return {
        "verdict": "answered",
        "label_map_zyx": canvas.label_map_ZYX,
        "points": tuple(canvas.points),
        "boxes": tuple(canvas.boxes),
        "overlapping_voxels": int(np.count_nonzero(canvas.is_overlapping_ZYX)),
        **answer,
    }


class _Canvas:
    """The patch while it is painted. Sets hold planes of the patch, along the axis through the pages."""

    def __init__(self, asked: Asked) -> None:
        self._class_names, self._kind = asked.class_names, asked.kind
        self._patch, self._axis = asked.pages.patch, asked.pages.through[0]
        self.label_map_ZYX: LabelMap = np.full(self._patch.shape_zyx, IGNORE, np.uint16)
        self.is_overlapping_ZYX = np.zeros(self._patch.shape_zyx, np.bool_)
        self.points: list[Point] = []
        self.boxes: list[Box] = []
        self._choices: dict[int, str] = {}
        self._painted: set[int] = set()
        self._with_classes: set[int] = set()
        self._by_people: set[int] = set()

    def take(self, plane: int, region: Region) -> None:
        """Note what one region says of its plane."""
        if region.control.meaning == "page":
            if self._choices.setdefault(plane, region.label) != region.label:
                raise DataError(f"{_named(plane)} is called '{NOTHING_HERE}' and '{UNUSABLE}'; choose one")
            return
        class_id = self._class_names.index(region.label)
        if class_id:
            self._with_classes.add(plane)
        if region.is_touched:
            self._by_people.add(plane)
        if region.voxels is not None:
            self._paint(plane, region.voxels, class_id)
        if region.point_zyx is not None:
            self.points.append(Point(class_id, region.point_zyx))
        if region.box is not None:
            self.boxes.append(Box(class_id, region.box))

    def finish(self) -> tuple[PageAnswer, ...]:
        """Fill in what was said of whole pages; what is said of every plane of the patch."""
        self._check_choices()
        self._leave_out_unusable()
        if self._kind == "segment":
            for plane in self._painted:
                page = self._at(self.label_map_ZYX, plane)
                page[page == IGNORE] = 0
        for plane in {self._plane_of(box.patch.start_zyx) for box in self.boxes}:
            self._at(self.label_map_ZYX, plane)[...] = 0
        for box in self.boxes:
            self.label_map_ZYX[self._within(box.patch)] = IGNORE
        for point in self.points:
            # Where a page was outlined, the outline stands.
            if self._plane_of(point.voxel_zyx) not in self._painted:
                self.label_map_ZYX[self._within(Patch(self._patch.volume_id, point.voxel_zyx, (1, 1, 1)))] = (
                    point.class_id
                )
        for plane, choice in self._choices.items():
            if choice == NOTHING_HERE:
                self._at(self.label_map_ZYX, plane)[...] = 0
        return tuple(self._page_answer(plane) for plane in range(self._patch.shape_zyx[self._axis]))

    def _check_choices(self) -> None:
        """Background marks go with 'nothing here', and untouched regions of the draft with 'unusable'."""
        for plane, choice in sorted(self._choices.items()):
            against = self._with_classes if choice == NOTHING_HERE else self._by_people
            if plane in against:
                raise DataError(f"{_named(plane)} is called '{choice}' and has regions; take one of them back")

    def _leave_out_unusable(self) -> None:
        unusable = {plane for plane, choice in self._choices.items() if choice == UNUSABLE}
        self.points = [point for point in self.points if self._plane_of(point.voxel_zyx) not in unusable]
        self.boxes = [box for box in self.boxes if self._plane_of(box.patch.start_zyx) not in unusable]
        self._painted -= unusable
        for plane in unusable:
            self._at(self.label_map_ZYX, plane)[...] = IGNORE
            self._at(self.is_overlapping_ZYX, plane)[...] = False

    def _paint(self, plane: int, voxels: Mask, class_id: int) -> None:
        page, overlapping = self._at(self.label_map_ZYX, plane), self._at(self.is_overlapping_ZYX, plane)
        overlapping |= voxels & (page != IGNORE) & (page != class_id)
        page[voxels] = class_id
        self._painted.add(plane)

    def _at(self, voxels_ZYX: npt.NDArray[Any], plane: int) -> npt.NDArray[Any]:
        """One plane, as a view."""
        view: npt.NDArray[Any] = np.moveaxis(voxels_ZYX, self._axis, 0)[plane]
        return view

    def _plane_of(self, voxel_zyx: Zyx) -> int:
        return voxel_zyx[self._axis] - self._patch.start_zyx[self._axis]

    def _within(self, part: Patch) -> tuple[slice, ...]:
        """A part of the patch, in its own array."""
        places = zip(part.start_zyx, self._patch.start_zyx, part.shape_zyx, strict=True)
        return tuple(slice(a - b, a - b + n) for a, b, n in places)

    def _page_answer(self, plane: int) -> PageAnswer:
        match self._choices.get(plane):
            case "nothing here":
                return "nothing here"
            case "unusable":
                return "unusable"
            case _:
                return "drawn" if np.any(self._at(self.label_map_ZYX, plane) != IGNORE) else "unanswered"


def _named(plane: int) -> str:
    return f"the page of plane {plane} of the patch"


def _about(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Who, when, how long: checked like everything else that comes from outside."""
    moment = _moment(annotation.get("updated_at"))
    draft_id = annotation.get("parent_prediction")
    if draft_id is not None and (type(draft_id) is not int or draft_id < 1):
        raise DataError("parent_prediction is no prediction's number")
    return {
        "annotation_id": _annotation_id(annotation),
        "revision": int((moment - _FIRST_MOMENT).total_seconds()),
        "annotator": _annotator(annotation.get("completed_by")),
        "answered_at": moment,
        "seconds": _seconds(annotation.get("lead_time")),
        "review": _review(annotation),
        "draft_id": draft_id,
    }


def _annotation_id(annotation: Mapping[str, Any]) -> str:
    unique_id, number = annotation.get("unique_id"), annotation.get("id")
    if isinstance(unique_id, str) and _UNIQUE_ID.fullmatch(unique_id):
        return f"label-studio-{unique_id.lower()}"
    if unique_id is None and type(number) is int and 0 < number < 1 << 63:
        return f"label-studio-{number}"
    raise DataError("the annotation has neither a unique_id (a UUID) nor a number")


def _annotator(completed_by: object) -> str:
    """Who answered, by number: an e-mail address would be a name."""
    number = completed_by.get("id") if isinstance(completed_by, Mapping) else completed_by
    if number is None:
        return "label-studio"
    if type(number) is not int or not 0 < number < 1 << 63:
        raise DataError("completed_by is no user's number")
    return f"label-studio-{number}"


def _moment(updated_at: object) -> datetime:
    try:
        moment = datetime.fromisoformat(updated_at)  # type: ignore[arg-type]
        since = moment - _FIRST_MOMENT
    except (TypeError, ValueError, OverflowError):
        raise DataError("updated_at is no moment with a time zone (ISO 8601)") from None
    if not timedelta(0) <= since <= timedelta(seconds=_MAX_REVISION):
        raise DataError(f"updated_at is {moment.isoformat()}; allowed are 2020 to 2088")
    return moment.astimezone(UTC)


def _seconds(lead_time: object) -> float:
    """0 where nobody measured, as with annotations that a program sent."""
    if lead_time is None:
        return 0.0
    # Compared, not converted: JSON's whole numbers may be larger than any float.
    if isinstance(lead_time, bool) or not isinstance(lead_time, int | float) or not 0 <= lead_time < math.inf:
        raise DataError("lead_time is no number of seconds, 0 or more")
    if lead_time > _MAX_REVISION:
        raise DataError("lead_time is longer than a lifetime")
    return float(lead_time)


def _review(annotation: Mapping[str, Any]) -> Review:
    """Ground truth and accepted reviews count as accepted; of several reviews the last."""
    reviews, ground_truth = annotation.get("reviews"), annotation.get("ground_truth", False)
    if ground_truth not in (None, False, True) or not (reviews is None or isinstance(reviews, list)):
        raise DataError("ground_truth or reviews are not what Label Studio writes there")
    if reviews:
        last = reviews[-1]
        if not isinstance(last, Mapping) or not isinstance(last.get("accepted"), bool):
            raise DataError("the last review neither accepts nor rejects")
        return "accepted" if last["accepted"] else "rejected"
    return "accepted" if ground_truth else "none"


def _is_of(result: object, controls: Collection[str]) -> bool:
    name = result.get("from_name") if isinstance(result, Mapping) else None
    return isinstance(name, str) and name in controls


def _counted(ours: list[tuple[int, object]]) -> dict[str, int]:
    """Results by origin; one that says nothing of it was made by hand."""
    origins = (result.get("origin") if isinstance(result, Mapping) else None for _, result in ours)
    return dict(Counter(o if o in {"prediction", "prediction-changed"} else "manual" for o in map(_text, origins)))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _why_nothing(said: Mapping[str, int], pages: tuple[PageAnswer, ...]) -> str:
    if said.get("context"):
        return "everything that was said lies outside the patch; answer inside the frame, or skip the task"
    if "unusable" in pages:
        return (
            f"some pages are called '{UNUSABLE}' and nothing is said of the others; answer them too, or skip the task"
        )
    return f"nothing was drawn; choose '{NOTHING_HERE}' if there is nothing, or skip the task"
