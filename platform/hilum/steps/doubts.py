"""How doubtful answers are: classes by ActiveLab, outlines by how little they cover each other.

ActiveLab (https://arxiv.org/abs/2301.11856) reads what a model says beside people. One that learnt an answer
repeats it; what is asked is the model of the round that first asked, which had not seen it.

Shape letters: N = candidates, C = classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hilum.core.agreement import answered_dice, by_majority, label_maps_of, mean_pairwise_dice, votes_of
from hilum.core.asking import Annotation
from hilum.core.ports import Counts, Executor
from hilum.core.resources import Resources
from hilum.steps.consensus import Votes, activelab
from hilum.steps.first_asked import FirstAsked, probs_of, unseen_probs
from hilum.steps.publish import drafted, tasks_of
from hilum.store.labels import NONE, read_everybodys_answers
from hilum.store.layout import Store


@dataclass(frozen=True)
class Doubt:
    """How doubtful an answer is, 0 to 1 for the most doubtful, and why in words."""

    value: float
    why: str


def doubts_of_classes(
    votes: Votes,
    open_: Sequence[str],
    asked: Mapping[str, FirstAsked],
    *,
    score_id: str,
    class_names: Sequence[str],
    store: Store,
) -> dict[str, Doubt]:
    """1 − ActiveLab's score of each candidate. It learns how far to trust whom from all that are answered."""
    unseen = unseen_probs(store, asked)
    probs = probs_of(store, score_id, set(asked) - set(unseen)) | unseen
    doubt = activelab(votes, probs)
    found = {}
    for one in open_:
        answer = by_majority(votes[one]).class_id
        if one not in probs or answer is None:
            found[one] = Doubt(0.0, f"no model has seen the image; {_answered(votes[one], class_names)}")
            continue
        name = class_names[answer]
        said = f"{_answered(votes[one], class_names)}; a model gave '{name}' {probs[one][answer]:.0%}"
        found[one] = Doubt(doubt[one], f"ActiveLab doubt {doubt[one]:.2f}: {said} ({_seen(one in unseen)})")
    return found


def doubts_of_outlines(
    votes: Votes,
    open_: Sequence[str],
    asked: Mapping[str, FirstAsked],
    *,
    checkpoint_id: str,
    label_set_id: str,
    store: Store,
    executor: Executor,
    resources: Resources,
) -> dict[str, Doubt]:
    """1 − the mean Dice of several answers, or of the only answer and a model's outline."""
    found: dict[str, Doubt] = {}
    alone: dict[tuple[str, str], list[str]] = {}
    for one in open_:
        if len(votes[one]) > 1:
            dice = mean_pairwise_dice(label_maps_of(votes[one]))
            found[one] = Doubt(1 - dice, f"{_answered(votes[one])}; mean Dice of their outlines {dice:.2f}")
        else:
            first = asked[one]
            model = checkpoint_id if first.checkpoint_id == NONE else first.checkpoint_id
            alone.setdefault((first.selection_id, model), []).append(one)
    judge = partial(judge_outlines, label_set_id=label_set_id, store=store)
    shards = [_Shard(selection_id, model, tuple(names)) for (selection_id, model), names in sorted(alone.items())]
    for counts in executor.map_shards(
        judge, shards, label="relabel", resources=resources, num_workers=resources.num_score_workers
    ):
        for one, dice in counts["dice"].items():
            seen = _seen(asked[one].checkpoint_id != NONE)
            why = f"{_answered(votes[one])}; Dice of the outline and a model's {dice:.2f} ({seen})"
            found[one] = Doubt(1 - dice, why)
    return found


@dataclass(frozen=True)
class _Shard:
    """Candidates of one selection, each with one answer, and the model to compare it with."""

    selection_id: str
    checkpoint_id: str
    candidates: tuple[str, ...]


def judge_outlines(shard: _Shard, *, label_set_id: str, store: Store) -> Counts:
    """The Dice of each candidate's answer and of what the model outlines."""
    answers = read_everybodys_answers(store, label_set_id)
    tasks = [t for t in tasks_of(store, shard.selection_id, "segment") if t.candidate_id in shard.candidates]
    found = {}
    # Full precision whatever the resources say: who is asked must not change with the machine.
    for task in drafted(tasks, shard.checkpoint_id, store=store, resources=Resources()):
        (said,) = label_maps_of(votes_of(answers[task.candidate_id]))
        assert task.draft_label_map_zyx is not None, "a model that outlines drafts outlines"
        found[task.candidate_id] = answered_dice(said, task.draft_label_map_zyx)
    return {"dice": found}


def _answered(votes: Sequence[Annotation], class_names: Sequence[str] = ()) -> str:
    """Who answered, and which class, if it is one."""
    classes = ["" if vote.class_id is None else f" ('{class_names[vote.class_id]}')" for vote in votes]
    return f"answered by {', '.join(vote.annotator + said for vote, said in zip(votes, classes, strict=True))}"


def _seen(unseen: bool) -> str:
    return "trained without this answer" if unseen else "trained with this answer: no earlier model has scored it"
