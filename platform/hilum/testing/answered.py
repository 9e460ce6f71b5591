"""A phantom store that has been asked and answered: what finetune and evaluate start from."""

from hilum.adapters.oracle import Oracle
from hilum.core.asking import Annotation, Candidate, Chosen, Task
from hilum.core.geometry import Patch
from hilum.core.ids import content_id
from hilum.core.learning import sides
from hilum.core.recipes import PoolRecipe, Recipe, SplitRecipe
from hilum.store.labels import ANNOTATIONS_FILE, NONE, commit_label_set, write_annotations
from hilum.store.layout import Store
from hilum.store.manifest import Run
from hilum.store.volumes import volumes_of
from hilum.testing.phantoms import Phantom

_STEP_VERSION = 1


def pool_side_items(store: Store, ingest_id: str) -> list[Candidate]:
    """Every item of every patient on the pool side, by candidate id."""
    volumes = volumes_of(store, ingest_id)
    side_of = sides(volumes.values(), SplitRecipe())
    found = []
    for volume in volumes.values():
        depth = volume.item_shape_zyx[0]
        if side_of[volume.study.patient_id] == "pool":
            items = (Patch(volume.volume_id, (i * depth, 0, 0), volume.item_shape_zyx) for i in range(volume.num_items))
            found += [Candidate(patch, volume.study.patient_id) for patch in items]
    return sorted(found, key=lambda candidate: candidate.candidate_id)


def true_answers(store: Store, ingest_id: str, phantom: Phantom, *, num: int | None = None) -> list[Annotation]:
    """What the oracle says of the first ``num`` items of the pool side, or of all."""
    chosen = [Chosen(c, rank, "all", 0.0, "") for rank, c in enumerate(pool_side_items(store, ingest_id)[:num])]
    tasks = [Task("c0ffee000000", one, phantom.question, phantom.class_names) for one in chosen]
    return list(Oracle(store, ingest_id).collect(tasks))


def label_set_of(store: Store, answers: list[Annotation], parent: str = NONE) -> str:
    """A label set that holds exactly these answers, and those of its parent."""
    inputs = {"select": "c0ffee000000", "labels": parent, "answers": content_id(repr(answers))}
    run = Run(store, "collect", _STEP_VERSION, Recipe(), inputs)
    write_annotations(run.path(ANNOTATIONS_FILE), answers)
    run.commit(files=[ANNOTATIONS_FILE])
    return commit_label_set(store, run.run_id, None if parent == NONE else parent).run_id


def pool_run(store: Store, ingest_id: str, recipe: PoolRecipe) -> str:
    """A pool's manifest without its table: all that evaluate looks at."""
    return Run(store, "pool", _STEP_VERSION, recipe, {"ingest": ingest_id}).commit().run_id
