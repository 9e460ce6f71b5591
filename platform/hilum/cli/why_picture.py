"""The picture of `hilum why`: the candidate, the model's draft, and the nearest labelled one with its answer."""

from collections.abc import Sequence

import numpy as np

from hilum.adapters.planes import patch_slices
from hilum.adapters.why_sheet import Column, why_png
from hilum.cli.why import class_in_words, classes_in_words
from hilum.core.asking import IGNORE, Annotation, LabelMap
from hilum.core.geometry import Patch
from hilum.loop.why import Picked, Why
from hilum.steps.publish import draft_of
from hilum.store.labels import NONE
from hilum.store.layout import Store, exists
from hilum.store.manifest import MANIFEST
from hilum.store.volumes import open_volume, volumes_of


def drawn(store: Store, found: Why, lines: Sequence[str]) -> bytes:
    """A PNG of the newest selection that holds the candidate, or of the candidate alone if none does."""
    picked = found.picked[-1] if found.picked else None
    patch = found.candidate.patch
    draft = _draft(store, found, picked)
    title = "asked about" if picked else "never picked"
    columns = _columns(store, found, patch, draft, title=title, whose="the model's draft")
    maps = [draft]
    if picked is not None and picked.neighbour is not None:
        title = f"nearest labelled, {picked.chosen.nearest_distance:.3g} away"
        answer = _answer(picked.neighbour)
        columns += _columns(store, found, picked.neighbour.patch, answer, title=title, whose="its answer")
        maps.append(answer)
    shown = {int(c) for one in maps if isinstance(one, np.ndarray) for c in np.unique(one) if 0 < c < IGNORE}
    return why_png(lines, columns, [(c, class_in_words(c, found.class_names)) for c in sorted(shown)])


def _draft(store: Store, found: Why, picked: Picked | None) -> int | LabelMap | None:
    """What the model of that time would answer; None when there was none, or it is no longer kept."""
    source = picked or found.standing
    if source is None or source.checkpoint_id == NONE:
        return None
    if not exists(f"{store.checkpoint(source.checkpoint_id)}/{MANIFEST}"):
        return None
    return draft_of(found.candidate.patch, source.checkpoint_id, found.ingest_id, store=store)


def _answer(annotation: Annotation) -> int | LabelMap:
    answer = annotation.class_id if annotation.label_map_zyx is None else annotation.label_map_zyx
    assert answer is not None, "an annotation is a class or a label map"
    return answer


def _columns(
    store: Store, found: Why, patch: Patch, said: int | LabelMap | None, *, title: str, whose: str
) -> list[Column]:
    """The patch alone, and with what was said of it: over it where that is outlines, in words where it is a class."""
    reader = open_volume(store, volumes_of(store, found.ingest_id)[patch.volume_id])
    label_map = said if isinstance(said, np.ndarray) else None
    slices = patch_slices(reader, patch, label_map)
    plain = tuple((one.plane, one.plain) for one in slices)
    if isinstance(said, int):
        return [Column(f"{title}; {whose}: {class_in_words(said, found.class_names)}", plain)]
    columns = [Column(title, plain)]
    if label_map is not None:
        labelled = tuple((one.plane, one.labelled) for one in slices if one.labelled is not None)
        columns.append(Column(f"{whose}: {classes_in_words(label_map, found.class_names)}", labelled))
    return columns
