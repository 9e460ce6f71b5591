"""What a task asks, as it travels in the task's own data: the question, the classes and how the patch is shown."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from hilum.adapters.label_studio.slices import Pages
from hilum.adapters.label_studio.template import Kind, checked_classes
from hilum.core.errors import DataError, RequestError
from hilum.core.geometry import Patch, Zyx

FORMAT_VERSION = 1
ASKED_KEY = "hilum"
"""The key of a task's data that holds this."""

_VOLUME_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LARGEST_INDEX = 1 << 31


@dataclass(frozen=True)
class Asked:
    """One task's question. ``class_names[0]`` is the background of every kind but 'classify'."""

    kind: Kind
    class_names: tuple[str, ...]
    pages: Pages

    def __post_init__(self) -> None:
        checked_classes(self.kind, self.class_names)

    @property
    def candidate_id(self) -> str:
        return self.pages.patch.candidate_id

    def to_json(self) -> dict[str, Any]:
        pages = self.pages
        return {
            "format_version": FORMAT_VERSION,
            "candidate_id": self.candidate_id,
            "kind": self.kind,
            "class_names": list(self.class_names),
            "volume_id": pages.patch.volume_id,
            "start_zyx": list(pages.patch.start_zyx),
            "shape_zyx": list(pages.patch.shape_zyx),
            "shown_start_zyx": list(pages.shown_start_zyx),
            "shown_shape_zyx": list(pages.shown_shape_zyx),
            "through": list(pages.through),
            "down": list(pages.down),
            "across": list(pages.across),
            "scale_yx": list(pages.scale_yx),
        }


def asked_from_json(data: object) -> Asked:
    """The question of a task's data; DataError when it is not as hilum wrote it."""
    if not isinstance(data, Mapping):
        raise DataError("The task's data do not say what hilum asked.")
    if data.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"The task's data are of format version {data.get('format_version')!r:.40}; "
            f"this release reads {FORMAT_VERSION}."
        )
    kind, names, volume_id = data.get("kind"), data.get("class_names"), data.get("volume_id")
    if kind not in get_args(Kind):
        raise DataError(f"The task's data ask for {kind!r:.40}; known are {', '.join(get_args(Kind))}.")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("The task's data name no classes.")
    if not isinstance(volume_id, str) or not _VOLUME_ID.fullmatch(volume_id):
        raise DataError("The task's data name no volume.")
    try:
        patch = Patch(volume_id, _three(data, "start_zyx"), _three(data, "shape_zyx"))
        pages = Pages(
            patch,
            _three(data, "shown_start_zyx"),
            _three(data, "shown_shape_zyx"),
            through=_two(data, "through"),
            down=_two(data, "down"),
            across=_two(data, "across"),
            scale_yx=_two(data, "scale_yx"),
        )
        asked = Asked(cast(Kind, kind), tuple(names), pages)
    except RequestError as error:
        raise DataError(f"The task's data cannot be meant: {error}") from None
    if data.get("candidate_id") != asked.candidate_id:
        raise DataError("The task's data name another candidate than their patch is; they were changed.")
    return asked


def _three(data: Mapping[str, Any], key: str) -> Zyx:
    z, y, x = _integers(data, key, 3)
    return z, y, x


def _two(data: Mapping[str, Any], key: str) -> tuple[int, int]:
    first, second = _integers(data, key, 2)
    return first, second


def _integers(data: Mapping[str, Any], key: str, num: int) -> tuple[int, ...]:
    values = data.get(key)
    if not isinstance(values, list) or len(values) != num or not all(type(v) is int for v in values):
        raise DataError(f"{key} must be {num} whole numbers.")
    if not all(-_LARGEST_INDEX < v < _LARGEST_INDEX for v in values):
        raise DataError(f"{key} has a number beyond {_LARGEST_INDEX}.")
    return tuple(values)
