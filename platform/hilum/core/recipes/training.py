"""How a network is trained."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hilum.core.recipes.base import Choice, Recipe, ShapeZyx, Share
from hilum.core.recipes.starts import GOES_ON, SCRATCH, Start

FirstWeights = Literal["he", "xavier", "uniform"]


class EarlyStopRecipe(Recipe):
    """Stop when answers kept apart are no longer learnt better, and keep the weights that did best on them.

    All answers about a ``share`` of the answered patients, at least one of them, are not trained
    on. Every ``every`` steps their loss is computed; after ``patience_checks`` checks in a row
    that are not better than the best by more than ``min_gain`` the training ends.
    """

    share: float = Field(default=0.2, gt=0, lt=1)
    every: int = Field(default=50, ge=1)
    patience_checks: int = Field(default=5, ge=1)
    min_gain: float = Field(default=0.0, ge=0)


class MisclassifiedRecipe(Recipe):
    """Which answers a model gets wrong: the likeliest class of its mean opinion is another.

    ``members`` are the opinions that are averaged. A label map counts as wrong when the Dice of
    its foreground, over answered voxels and all foreground classes together, is below ``min_dice``.
    """

    members: Choice = Choice(kind="single")
    min_dice: float = Field(default=0.7, gt=0, le=1)


class ConsistencyRecipe(Recipe):
    """A loss that asks for one answer to ``num_views`` views of a patch, beside the loss that asks for the right one.

    It is ``weight`` times the views' mean ``distance``, and reads no label: unanswered voxels count too.
    """

    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    num_views: int = Field(default=2, ge=2, le=8)
    distance: Literal["symmetric_kl", "mean_squared"] = "symmetric_kl"


class LearningLossRecipe(Recipe):
    """A small module beside the network that learns which patches the network gets wrong, for scorer `learning_loss`.

    Yoo & Kweon 2019 (https://arxiv.org/abs/1905.03677). It reads every encoder level through ``width`` numbers. The
    patches of a chunk are paired, and a pair costs as much as its two predictions lack of being ``margin`` apart in the
    order of the patches' own losses; ``weight`` times the mean over pairs is added to the loss. The network itself
    learns from that over the first ``network_share`` of the steps (in the paper 120 of 200 epochs), then the module
    alone does.
    """

    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    margin: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    width: int = Field(default=128, ge=1)
    network_share: Share = 0.6


class TrainingRecipe(Recipe):
    """What pretraining and fine-tuning have in common.

    A batch is cut into ``num_chunks`` whose gradients are added in a fixed order, so that any number of workers
    up to ``num_chunks`` reaches the same weights. The learning rate rises over the share
    ``warm_up`` of the steps and then follows ``schedule``; gradients longer than ``clip_norm``
    are shortened to it. ``train_precision`` is that of the network's layers (autocast); loss, gradients
    and weights are float32. With ``ema_decay`` the checkpoint holds the running mean of the weights.

    ``first_weights`` says what random weights a network begins with. 'he': those its architecture draws, which for
    ours are normal with variance 2 / fan-in (He, "MSRA", https://arxiv.org/abs/1502.01852). 'xavier': every
    convolution uniform in ±√(6 / (fan-in + fan-out)) (Glorot). 'uniform': every convolution uniform in ±0.05. In the
    last two biases are 0; norms, and a classifier's last layer, are left as they are.
    """

    architecture: Choice = Choice(kind="unet")
    first_weights: FirstWeights = "he"
    num_steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=32, ge=1)
    num_chunks: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warm_up: Share = 0.1
    clip_norm: float = Field(default=1.0, gt=0)
    checkpoint_every: int = Field(default=100, ge=1)
    train_precision: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    early_stop: EarlyStopRecipe | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _chunks_are_equal(self) -> Self:
        if self.batch_size % self.num_chunks:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of num_chunks {self.num_chunks}")
        return self

    @model_validator(mode="after")
    def _fetched_weights_are_not_drawn_over(self) -> Self:
        if self.first_weights != "he" and self.architecture.params.get("pretrained"):
            raise ValueError(
                f"first_weights: {self.first_weights} would draw over the weights that architecture.pretrained "
                "fetches; leave one of them out"
            )
        return self


class FinetuneRecipe(TrainingRecipe):
    """How a checkpoint is trained from a label set.

    ``from``: 'scratch'; 'champion', the model in force; 'previous', the last round's model even
    if it was not promoted; 'first', the first round's; or the id of a checkpoint, whose tensors every training takes
    over as far as they fit, in place of random weights. What it took over is held as it is for the first
    ``num_frozen_steps`` steps, and only the rest is learnt. ``data``: 'all' answers, those 'new' to the
    model that is gone on from, or 'new_and_misclassified'. Going on, the learning rate is multiplied
    by ``continue_learning_rate_factor``. The first training, which has nothing to go on from, may take
    another number of steps: ``num_first_steps``. Without ``loss``, the question's own is taken. In segmentation the
    cross-entropy of a class weighs its share of the answered voxels to the power
    −``rare_class_exponent``, background 1: without it small structures are never predicted.

    ``patch_shape_zyx`` trains on crops of answered label maps; with ``foreground_share`` that share of the crops is
    centred on a foreground voxel, every class as often, and no crop misses all that was answered.
    """

    start: Start = Field(default=SCRATCH, alias="from")
    data: Literal["all", "new", "new_and_misclassified"] = "all"
    misclassified: MisclassifiedRecipe = MisclassifiedRecipe()
    continue_learning_rate_factor: float = Field(default=1.0, gt=0, le=1)
    num_first_steps: int | None = Field(default=None, ge=1)
    num_frozen_steps: int = Field(default=0, ge=0)
    loss: Choice | None = None
    balance_classes: bool = True
    rare_class_exponent: Share = 0.4
    augment: tuple[Choice, ...] = (Choice(kind="flip"), Choice(kind="shift"), Choice(kind="intensity"))
    consistency: ConsistencyRecipe | None = None
    learning_loss: LearningLossRecipe | None = None
    patch_shape_zyx: ShapeZyx | None = None
    foreground_share: Share | None = None

    @model_validator(mode="after")
    def _only_what_goes_on_has_something_before_it(self) -> "FinetuneRecipe":
        if not self.goes_on:
            origin = "from scratch" if self.checkpoint is None else "from a checkpoint"
            if self.num_first_steps is not None:
                raise ValueError(f"num_first_steps is for 'from: champion'; {origin} every training is a first one")
            if self.continue_learning_rate_factor != 1:
                raise ValueError(f"continue_learning_rate_factor is for trainings that go on; {origin} none does")
            if self.data != "all":
                raise ValueError(
                    f"data: {self.data} is for trainings that go on from a model (from: previous, champion or first); "
                    f"{origin} every answer is new"
                )
        if self.num_frozen_steps and self.checkpoint is None:
            raise ValueError(
                "num_frozen_steps holds what is taken over from a checkpoint; give its id (from: 0a1b2c3d4e5f), "
                "or leave it out"
            )
        if self.data != "new_and_misclassified" and self.misclassified != MisclassifiedRecipe():
            raise ValueError("'misclassified' is for 'data: new_and_misclassified'; leave it out")
        return self

    @model_validator(mode="after")
    def _there_are_pairs_in_a_chunk(self) -> "FinetuneRecipe":
        if self.learning_loss is not None and self.batch_size < 2 * self.num_chunks:
            raise ValueError(
                f"learning_loss compares two patches of a chunk: batch_size {self.batch_size} must be at least twice "
                f"num_chunks {self.num_chunks}"
            )
        return self

    @property
    def goes_on(self) -> bool:
        """Whether a training goes on from one of the same campaign, rather than from the beginning."""
        return self.start in GOES_ON

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that every training takes tensors over from, if there is one."""
        return None if self.goes_on or self.start == SCRATCH else self.start

    def num_steps_over(self, num_trainings: int) -> int:
        """Steps behind the last of so many trainings; each goes on from the one before, or all from the first."""
        num_later = min(num_trainings - 1, 1) if self.start == "first" else num_trainings - 1
        return (self.num_first_steps or self.num_steps) + num_later * self.num_steps

    def of_training(self, *, is_first: bool) -> "FinetuneRecipe":
        """The recipe of one training: its number of steps and its learning rate settled.

        A first training has nothing to go on from: every answer is new to it.
        """
        settled: dict[str, Any] = {"num_first_steps": None, "continue_learning_rate_factor": 1.0}
        if not is_first:
            settled["learning_rate"] = self.learning_rate * self.continue_learning_rate_factor
            return self.model_copy(update=settled)
        settled |= {"num_steps": self.num_steps_over(1), "data": "all", "misclassified": MisclassifiedRecipe()}
        if self.start in ("previous", "first"):
            # It is a training from scratch and has its name: strategies that differ later share it.
            settled["start"] = SCRATCH
        return self.model_copy(update=settled)
