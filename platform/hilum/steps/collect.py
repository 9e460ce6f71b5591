"""collect: take in what people answered, and publish the label set that adds it to what was known."""

import hashlib
from collections.abc import Mapping, Sequence

from hilum.core.agreement import Consensus, votes_of
from hilum.core.asking import IGNORE, Annotation, Task
from hilum.core.errors import DataError, WaitingForPeople
from hilum.core.ids import content_id
from hilum.core.ports import Annotator
from hilum.core.recipes import CampaignRecipe, Question, Recipe
from hilum.steps.consensus import settled
from hilum.steps.first_asked import first_asked, of_selections, unseen_probs
from hilum.steps.publish import tasks_of
from hilum.store.labels import (
    AGREED_FILE,
    ANNOTATIONS_FILE,
    DECLINED,
    NONE,
    commit_label_set,
    read_everybodys_answers,
    write_annotations,
)
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest

STEP_VERSION = 1


class CollectRecipe(Recipe):
    """What was asked, and how several answers about one candidate become one."""

    question: Question
    consensus: Consensus = "majority"


def recipe_of(campaign: CampaignRecipe) -> CollectRecipe:
    """How a campaign collects."""
    relabel = campaign.select.relabel
    consensus: Consensus = "majority" if relabel is None else relabel.consensus_on(campaign.question)
    return CollectRecipe(question=campaign.question, consensus=consensus)


def run(recipe: CollectRecipe, inputs: Mapping[str, str], *, store: Store, annotator: Annotator) -> Manifest:
    """Collect the answers to ``inputs['select']`` on top of label set ``inputs['labels']``.

    Raises WaitingForPeople while answers are missing; what people declined is not missing, and is not asked again.
    The label set has the run's id.
    """
    tasks = tasks_of(store, inputs["select"], recipe.question)
    answers = usable_answers(annotator.collect(tasks), tasks)
    declined = declined_of(annotator, tasks, answers)
    num_missing = len(tasks) - len({answer.patch.candidate_id for answer in answers}) - len(declined)
    if num_missing:
        raise WaitingForPeople(_missing(tasks, num_missing, annotator))
    named = {"select": inputs["select"], "labels": inputs["labels"], "answers": answers_id(answers)}
    if declined:
        named["declined"] = content_id(sorted(declined.items()))
    this = Run(store, "collect", STEP_VERSION, recipe, named)
    manifest = this.finished()
    if manifest is None:
        write_annotations(this.path(ANNOTATIONS_FILE), answers)
        agreed = _agreed(recipe, inputs, answers, store)
        if agreed:
            write_annotations(this.path(AGREED_FILE), agreed)
        manifest = this.commit(
            files=[ANNOTATIONS_FILE, *([AGREED_FILE] if agreed else [])],
            num_answers=len(answers),
            seconds_of_people=sum(answer.seconds for answer in answers),
            **({DECLINED: declined} if declined else {}),
        )
    commit_label_set(store, this.run_id, None if inputs["labels"] == NONE else inputs["labels"])
    return manifest


def usable_answers(annotations: Sequence[Annotation], tasks: Sequence[Task]) -> list[Annotation]:
    """One answer a task and annotator, in the tasks' order; of several the newest revision.

    Answers to nothing asked are left.
    """
    by_candidate: dict[str, dict[str, Annotation]] = {}
    for annotation in sorted(annotations, key=lambda a: (a.revision, a.annotation_id)):
        by_candidate.setdefault(annotation.patch.candidate_id, {})[annotation.annotator] = annotation
    return [
        _checked(answer, task)
        for task in tasks
        for _, answer in sorted(by_candidate.get(task.candidate_id, {}).items())
    ]


def _agreed(
    recipe: CollectRecipe, inputs: Mapping[str, str], answers: Sequence[Annotation], store: Store
) -> list[Annotation]:
    """What stands for several answers, of those candidates that were answered now, unless the majority does."""
    if recipe.consensus == "majority":
        return []
    everybodys = read_everybodys_answers(store, inputs["labels"])
    for answer in answers:
        told = {before.annotation_id: before for before in everybodys.get(answer.patch.candidate_id, [])}
        everybodys[answer.patch.candidate_id] = list((told | {answer.annotation_id: answer}).values())
    votes = {one: votes_of(each) for one, each in everybodys.items()}
    again = sorted({answer.patch.candidate_id for answer in answers if len(votes[answer.patch.candidate_id]) > 1})
    if not again or recipe.consensus == "staple":
        return settled(votes, again, recipe.consensus, {})
    pool_id = read_manifest(store.run("select", inputs["select"])).inputs["pool"]
    asked = of_selections(store, [inputs["select"]], pool_id) | first_asked(store, inputs["labels"], pool_id)
    return settled(
        votes, again, recipe.consensus, unseen_probs(store, {one: asked[one] for one in votes if one in asked})
    )


def declined_of(annotator: Annotator, tasks: Sequence[Task], answers: Sequence[Annotation]) -> dict[str, str]:
    """What people will not answer, and why, of the tasks that have no answer."""
    answered = {answer.patch.candidate_id for answer in answers}
    asked = {task.candidate_id for task in tasks}
    return {name: why for name, why in annotator.declined(tasks).items() if name in asked - answered}


def answers_id(answers: Sequence[Annotation]) -> str:
    """The content of answers as one id: who, when, how long, and every label."""
    return content_id([_content(answer) for answer in sorted(answers, key=_by_candidate)])


def _by_candidate(answer: Annotation) -> tuple[str, str]:
    return answer.patch.candidate_id, answer.annotator


def _content(answer: Annotation) -> list[str | int | float | None]:
    labels = answer.label_map_zyx
    return [
        answer.patch.candidate_id,
        answer.annotation_id,
        answer.revision,
        answer.annotator,
        answer.answered_at.isoformat(),
        float(answer.seconds),
        answer.class_id,
        None if labels is None else hashlib.sha256(labels.astype("<u2").tobytes()).hexdigest(),
    ]


def _checked(answer: Annotation, task: Task) -> Annotation:
    """An annotator refuses what it cannot use; what still comes through wrong must not be trained on."""
    num_classes = len(task.class_names)
    if answer.label_map_zyx is None:
        known = task.question == "classify" and answer.class_id in range(num_classes)
    else:
        labels = answer.label_map_zyx
        known = task.question == "segment" and bool(((labels < num_classes) | (labels == IGNORE)).all())
    if not known:
        raise DataError(
            f"Annotation {answer.annotation_id} does not answer its task: the question is '{task.question}' and the "
            f"classes are 0 to {num_classes - 1}. Correct it where it was made."
        )
    return answer


def _missing(tasks: Sequence[Task], num_missing: int, annotator: Annotator) -> str:
    sentence = f"waiting for {num_missing} of {len(tasks)} annotations."
    refused = annotator.refused(tasks)
    if not refused:
        return f"{sentence} Nothing to do until then."
    candidate_id, reason = min(refused.items())
    more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
    return f"{sentence} {len(refused)} were given but cannot be used: {candidate_id} ({reason}){more}."
