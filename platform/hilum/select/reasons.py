"""Why a candidate was chosen, in words a person can check."""

from collections.abc import Sequence

import numpy as np

from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select.scored import UNKNOWN, Ints, ScoredPool

_WORDS = {
    "random": "drawn at random",
    "foreground_random": "drawn at random, foreground preferred",
    "k_centre": "farthest from everything labelled or picked before it",
    "kmeans_pp": "far from everything labelled or picked before it",
    "badge": "unsure, and unlike everything picked before it",
    "batch_bald": "its answer adds most to what those picked before it tell of the members",
    "epig": "its answer would tell most of what the model says of others",
    "hard_to_contrast": "among the hardest of its group to tell from others",
    "typiclust": "most typical of its group",
    "facility_location": "most like what nothing labelled or picked before it is like",
    "prob_cover": "most others within reach, of those that nothing labelled or picked reaches",
    "usl": "in a dense place of its group, away from the other picks",
}


def reasons(
    choice: Choice, scored: ScoredPool, rows: Ints, class_names: Sequence[str] = ()
) -> tuple[list[float], list[str]]:
    """The score each of ``rows`` was judged by (0 where the sampler reads none) and a sentence each."""
    name = _score_read(choice, scored)
    if name is None:
        words = _WORDS.get(choice.kind, f"chosen by {choice.kind}")
        return [0.0] * len(rows), [f"{words}, 1 of {scored.num:,} left"] * len(rows)
    values = scored.score(name)
    descending: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    sentences = []
    for row in rows:
        group = int(scored.predicted_class[row])
        if group not in descending:
            descending[group] = np.sort(-values[scored.predicted_class == group])
        rank = 1 + int(np.searchsorted(descending[group], -values[row], side="left"))
        of_whom = f"{len(descending[group]):,}{_predicted(group, class_names)}"
        sentences.append(f"{name} {values[row]:.2f}, {_ordinal(rank)} of {of_whom}")
    return [float(v) for v in values[rows]], sentences


def _score_read(choice: Choice, scored: ScoredPool) -> str | None:
    if choice.kind in _WORDS and choice.kind != "foreground_random" and "shortlist" not in choice.params:
        return None
    name = choice.params.get("score") or getattr(samplers.params_of(choice.kind)(), "score", None)
    return name if name in scored.scores else None


def _predicted(group: int, class_names: Sequence[str]) -> str:
    if group == UNKNOWN:
        return ""
    return f" predicted {class_names[group] if group < len(class_names) else f'class {group}'}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
