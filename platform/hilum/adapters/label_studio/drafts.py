"""The model's draft as a Label Studio prediction: what a person finds on the pages when a task is opened.

The server stores any prediction, also one that nobody can see: every prediction is checked here, by the rules that
answers are read with.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hilum.adapters.label_studio import brush_rle
from hilum.adapters.label_studio.answers import MAX_RESULTS
from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.brush_rle import Mask
from hilum.adapters.label_studio.polygons import mask_polygons
from hilum.adapters.label_studio.regions import read_region, shown
from hilum.adapters.label_studio.template import IMAGE
from hilum.core.asking import IGNORE
from hilum.core.errors import DataError

DrawnAs = Literal["brush", "polygon"]

_CHECKPOINT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUM_TOLERANCE = 1e-3


def outline_draft(
    asked: Asked,
    label_map_zyx: npt.NDArray[Any],
    *,
    score: float,
    checkpoint_id: str,
    drawn_as: DrawnAs = "brush",
) -> dict[str, Any]:
    """A prediction that shows a label map of the patch: one brush region a class and page, or one polygon a part.

    ``score`` in [0, 1] orders the tasks of a project, lowest first. Background and `IGNORE` are not drawn.
    """
    if asked.kind != "segment":
        raise DataError(f"An outline is no draft of a question of kind '{asked.kind}'; it is one of 'segment'.")
    known = np.unique(label_map_zyx)
    if label_map_zyx.dtype.kind not in "iu" or np.any(
        (known != IGNORE) & ((known < 0) | (known >= len(asked.class_names)))
    ):
        raise DataError(
            f"A draft has whole numbers from 0 to {len(asked.class_names) - 1}, or {IGNORE}; "
            f"given {label_map_zyx.dtype} up to {known.max() if known.size else 'nothing'}."
        )
    result = [
        _region(asked, drawn_as, page, class_id, number=number, value=value)
        for page, class_id, mask_YX in _masks(asked, label_map_zyx)
        for number, value in enumerate(_values(drawn_as, mask_YX))
    ]
    return _checked(asked, result, score, checkpoint_id)


def class_draft(asked: Asked, class_id: int, *, score: float, checkpoint_id: str) -> dict[str, Any]:
    """A prediction that has a class chosen already."""
    if asked.kind != "classify" or not 0 <= class_id < len(asked.class_names):
        raise DataError(
            f"Class {class_id} is no draft of this question of kind '{asked.kind}'; "
            f"'classify' takes 0 to {len(asked.class_names) - 1}."
        )
    choice = {
        "id": "class",
        "from_name": "class",
        "to_name": IMAGE,
        "type": "choices",
        "value": {"choices": [asked.class_names[class_id]]},
    }
    return _checked(asked, [choice], score, checkpoint_id)


def probability_draft(
    asked: Asked,
    probabilities: npt.NDArray[np.floating[Any]],
    *,
    score: float,
    checkpoint_id: str,
    drawn_as: DrawnAs = "brush",
) -> dict[str, Any]:
    """A prediction from class probabilities, (C,) or (C, Z, Y, X) of an outline; of equals, the first class."""
    num_classes = len(asked.class_names)
    if probabilities.ndim not in {1, 4} or len(probabilities) != num_classes:
        raise DataError(
            f"Probabilities are of {num_classes} classes, (C,) or (C, Z, Y, X); given {probabilities.shape}."
        )
    sums = probabilities.sum(axis=0, dtype=np.float64)
    if not (np.all(probabilities >= 0) and np.all(np.abs(sums - 1) <= _SUM_TOLERANCE)):
        raise DataError("Probabilities must be 0 or more and add up to 1.")
    best = probabilities.argmax(axis=0)
    if probabilities.ndim == 1:
        return class_draft(asked, int(best), score=score, checkpoint_id=checkpoint_id)
    return outline_draft(asked, best.astype(np.uint16), score=score, checkpoint_id=checkpoint_id, drawn_as=drawn_as)


def check_prediction(prediction: object, asked: Asked) -> None:
    """DataError when a prediction could not be shown, or not be read back from the annotation it becomes."""
    if not isinstance(prediction, Mapping):
        raise DataError("the prediction is no object of JSON")
    version, score, result = (prediction.get(key) for key in ("model_version", "score", "result"))
    if not isinstance(version, str) or not _CHECKPOINT_ID.fullmatch(version):
        raise DataError(f"the prediction's model_version is '{shown(version)}'; it must be a checkpoint's id")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise DataError(f"the prediction's score is {shown(score)}; allowed are 0 to 1")
    if not isinstance(result, list) or len(result) > MAX_RESULTS:
        raise DataError(f"the prediction's result is no list of {MAX_RESULTS:,} regions at most; draw with the brush")
    for place, region in enumerate(result):
        read_region(region, place, asked)
    ids = [region.get("id") for region in result]
    if not all(isinstance(i, str) and i for i in ids) or len(set(ids)) < len(ids):
        raise DataError("the prediction's regions need an id each, and no two the same")


def _checked(asked: Asked, result: list[dict[str, Any]], score: float, checkpoint_id: str) -> dict[str, Any]:
    prediction = {"model_version": checkpoint_id, "score": _plain(score), "result": result}
    check_prediction(prediction, asked)
    return prediction


def _plain(score: float) -> float:
    """As JSON knows numbers: numpy's are others."""
    number = float(score)
    if not math.isfinite(number):
        raise DataError(f"a draft's score is {number}; allowed are 0 to 1")
    return number


def _masks(asked: Asked, label_map_zyx: npt.NDArray[Any]) -> Iterator[tuple[int, int, Mask]]:
    """Page, class and pixels of everything that is drawn."""
    for page in range(asked.pages.num_pages):
        if asked.pages.plane(page) is not None:
            page_YX = asked.pages.page_of_map(label_map_zyx.astype(np.uint16), page, fill=IGNORE)
            for class_id in np.unique(page_YX):
                if 0 < class_id < IGNORE:
                    yield page, int(class_id), page_YX == class_id


def _values(drawn_as: DrawnAs, mask_YX: Mask) -> Iterator[dict[str, Any]]:
    if drawn_as == "brush":
        yield {"format": "rle", "rle": brush_rle.encode(mask_YX)}
    else:
        for points in mask_polygons(mask_YX):
            yield {"points": points, "closed": True}


def _region(
    asked: Asked, drawn_as: DrawnAs, page: int, class_id: int, *, number: int, value: dict[str, Any]
) -> dict[str, Any]:
    height, width = asked.pages.shape_yx
    kind = f"{drawn_as}labels"
    return {
        "id": f"draft-{page}-{class_id}-{number}",
        "from_name": drawn_as,
        "to_name": IMAGE,
        "type": kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "item_index": page,
        "value": {**value, kind: [asked.class_names[class_id]]},
    }
