"""`hilum why`: what made the machine ask about this candidate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply
from hilum.cli.options import Json, StoreUrl
from hilum.core.errors import RequestError

if TYPE_CHECKING:
    from hilum.core.asking import Annotation
    from hilum.loop.why import Picked, Standing, Why

CandidateId = Annotated[
    str, typer.Argument(metavar="CANDIDATE", help="The candidate's id: the twelve letters and digits in a task's name.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Draw it there (.png): the patch, the model's draft, and its nearest labelled neighbour with the answer.",
    ),
]


def why(candidate: CandidateId, *, store: StoreUrl = None, out: Out = None, json_: Json = False) -> None:
    """Say why a candidate was asked about: by which arm, with which score and rank, like which labelled one.

    One that was never picked is shown where it stands: its scores, and its rank in the newest score run.
    """
    from hilum.cli.composition import store_at
    from hilum.loop.why import why as why_of
    from hilum.store.manifest import write_bytes

    if out is not None and out.suffix.lower() != ".png":
        raise RequestError(f"The picture is a .png file; --out {out} is not.")
    opened = store_at(store)
    found = why_of(opened, candidate)
    told = lines_of(found)
    if out is not None:
        from hilum.cli.why_picture import drawn

        write_bytes(str(out.absolute()), drawn(opened, found, told))
        told = [*told, f"picture: {out}"]
    reply(json_, {**_data(found), "picture": str(out) if out else None}, *told)


def lines_of(found: "Why") -> list[str]:
    """All that is known, in sentences: the oldest selection first."""
    patch = found.candidate.patch
    size, place = (" × ".join(map(str, patch.shape_zyx)), ", ".join(map(str, patch.start_zyx)))
    first = f"candidate {patch.candidate_id}: {size} voxels at ({place}) (Z, Y, X) of volume {patch.volume_id}"
    told = [f"{first}, patient {found.candidate.patient_id}"]
    for picked in found.picked:
        told += _picked_lines(picked, found.class_names)
    if found.standing is not None:
        told += _standing_lines(found.standing, found.class_names)
    elif not found.picked:
        told.append("never picked; its pool was not scored yet")
    return told


def _picked_lines(picked: "Picked", class_names: Sequence[str]) -> list[str]:
    chosen, turn = picked.chosen, picked.turn
    where = f"campaign {turn.campaign}, round {turn.round_number}" if turn else f"selection {picked.selection_id}"
    lines = [
        f"{where}: picked by {chosen.arm}, rank {chosen.rank} (from 0), score {chosen.score:.4g}",
        f"  because: {chosen.reason}",
    ]
    if chosen.nearest_id is None:
        lines.append("  nearest labelled: none (nothing was labelled yet, or this selection did not look)")
    else:
        said = f", answered {answer_in_words(picked.neighbour, class_names)}" if picked.neighbour else ""
        lines.append(f"  nearest labelled: {chosen.nearest_id}, {chosen.nearest_distance:.4g} away{said}")
    answered = answer_in_words(picked.answer, class_names) if picked.answer else "none yet"
    return [*lines, f"  answer: {answered}"]


def _standing_lines(standing: "Standing", class_names: Sequence[str]) -> list[str]:
    lines = [f"never picked; where it stands in score run {standing.score_id}, model {standing.checkpoint_id}:"]
    if standing.unscored:
        return [*lines, f"  it could not be scored: {standing.unscored}"]
    if not standing.scores:
        lines.append(f"  no scores before there is a model; 1 of {standing.num_scored:,}")
    for name, value in standing.scores.items():
        lines.append(f"  {name} {value:.4g}, rank {standing.ranks[name]:,} of {standing.num_scored:,}")
    if standing.predicted_class is not None:
        lines.append(f"  predicted: {class_in_words(standing.predicted_class, class_names)}")
    return lines


def answer_in_words(answer: "Annotation", class_names: Sequence[str]) -> str:
    """A class by its name; of outlines the classes that were drawn."""
    if answer.class_id is not None:
        return class_in_words(answer.class_id, class_names)
    assert answer.label_map_zyx is not None, "an annotation is a class or a label map"
    return classes_in_words(answer.label_map_zyx, class_names)


def classes_in_words(label_map_ZYX: Any, class_names: Sequence[str]) -> str:
    """The foreground classes of a label map by name."""
    import numpy as np

    from hilum.core.asking import IGNORE

    drawn = [int(c) for c in np.unique(label_map_ZYX) if 0 < c < IGNORE]
    return ", ".join(class_in_words(c, class_names) for c in drawn) or "nothing but background"


def class_in_words(class_id: int, class_names: Sequence[str]) -> str:
    """A class by its name, or its number where it has none."""
    return class_names[class_id] if class_id < len(class_names) else f"class {class_id}"


def _data(found: "Why") -> dict[str, Any]:
    patch = found.candidate.patch
    return {
        "candidate_id": patch.candidate_id,
        "volume_id": patch.volume_id,
        "start_zyx": patch.start_zyx,
        "shape_zyx": patch.shape_zyx,
        "patient_id": found.candidate.patient_id,
        "picked": [_picked_data(picked, found.class_names) for picked in found.picked],
        "standing": _standing_data(found.standing) if found.standing else None,
    }


def _picked_data(picked: "Picked", class_names: Sequence[str]) -> dict[str, Any]:
    chosen, turn = picked.chosen, picked.turn
    return {
        "selection_id": picked.selection_id,
        "campaign": turn.campaign if turn else None,
        "round_number": turn.round_number if turn else None,
        "model": picked.checkpoint_id,
        "arm": chosen.arm,
        "rank": chosen.rank,
        "score": chosen.score,
        "reason": chosen.reason,
        "answered_by": list(chosen.answered_by),
        "nearest_labelled_id": chosen.nearest_id,
        "nearest_labelled_distance": chosen.nearest_distance,
        "nearest_labelled_answer": answer_in_words(picked.neighbour, class_names) if picked.neighbour else None,
        "answer": answer_in_words(picked.answer, class_names) if picked.answer else None,
    }


def _standing_data(standing: "Standing") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(standing)
