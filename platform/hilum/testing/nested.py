"""A small UNet++ that was really trained on a phantom store: what prune and export start from."""

from dataclasses import dataclass

from hilum.adapters.inline import InlineExecutor
from hilum.core.recipes import Choice, FinetuneRecipe, PoolRecipe
from hilum.core.resources import Resources
from hilum.steps import finetune
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.testing.answered import label_set_of, pool_run, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

NESTED = Choice(kind="unetpp", depth=3, features=(8, 8, 16, 16))


@dataclass(frozen=True)
class Trained:
    """A store, a checkpoint in it, and the runs that say who is held out."""

    store: Store
    checkpoint_id: str
    ingest_id: str
    pool_id: str

    @property
    def inputs(self) -> dict[str, str]:
        return {"checkpoint": self.checkpoint_id, "ingest": self.ingest_id, "pool": self.pool_id}


def trained_on_phantoms(url: str, phantom: Phantom, *, architecture: Choice = NESTED, num_steps: int = 40) -> Trained:
    """Trained on the oracle's answers to every item of the pool side."""
    store, ingest_id = phantom_store(url, phantom)
    pool_id = pool_run(store, ingest_id, PoolRecipe())
    labels = label_set_of(store, true_answers(store, ingest_id, phantom))
    recipe = FinetuneRecipe(architecture=architecture, num_steps=num_steps, batch_size=8, learning_rate=1e-2)
    inputs = {"labels": labels, "start": NONE, "ingest": ingest_id}
    manifest = finetune.run(recipe, inputs, store=store, executor=InlineExecutor(), resources=Resources())
    return Trained(store, manifest.run_id, ingest_id, pool_id)
