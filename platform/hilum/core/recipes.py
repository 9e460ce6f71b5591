"""What a step computes. Recipes are frozen, hashed into the result's name, and refuse unknown keys.

A ``Choice`` names one of an extension point's functions (`kind`) with that function's own
parameters beside it; the registry checks them before any work starts. `kind` never has a
default: a default would vanish from the hash, and two different functions would get one name.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Question = Literal["classify", "segment"]
Plane = Literal["axial", "coronal", "sagittal"]


class Recipe(BaseModel):
    """Base of every recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Choice(BaseModel):
    """``{kind: name, …}``: a registered function and its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def _positive(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if min(shape) < 1:
        raise ValueError(f"sizes must be positive, in the order Z, Y, X; given {list(shape)}")
    return shape


def _an_orientation(letters: str) -> str:
    if sorted(ORIENTATION_PAIRS.get(letter, "") for letter in letters) != sorted(set(ORIENTATION_PAIRS.values())):
        raise ValueError(
            "an orientation is three letters, one of R and L, one of A and P, one of S and I, that say where the "
            "array's axes X, Y and Z run to: LPS and RAS are the usual ones"
        )
    return letters


ORIENTATION_PAIRS = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}
"""Each letter of an orientation, and the patient's axis that it lies on."""

ShapeZyx = Annotated[tuple[int, int, int], AfterValidator(_positive)]
Share = Annotated[float, Field(ge=0, le=1)]
Millimetres = Annotated[float, Field(ge=1e-6, le=1000)]
Percentile = Annotated[float, Field(ge=0, le=100)]
Orientation = Annotated[str, AfterValidator(_an_orientation)]


class SplitRecipe(Recipe):
    """Shares of patients held out. Sides declared at ingest win over these."""

    validation: Share = 0.15
    test: Share = 0.2
    seed: int = 0

    @model_validator(mode="after")
    def _something_is_left(self) -> "SplitRecipe":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave a share for the pool; make them sum to less than 1")
        return self


WINDOWS_HU: dict[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),
    "mediastinum": (-125.0, 225.0),
    "abdomen": (-150.0, 250.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
}
"""The usual windows of CT: the Hounsfield units that become black and white."""


class WindowRecipe(Recipe):
    """Which grey levels become 0 and 1: a ``preset`` of CT, ``low`` and ``high``, or ``percentiles`` of the image.

    Where nothing is said, the 0.5 and 99.5 percentiles, and a photograph's whole range.
    """

    preset: Literal["lung", "mediastinum", "abdomen", "bone", "brain"] | None = None
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    percentiles: tuple[Percentile, Percentile] | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_a_preset(cls, given: Any) -> Any:
        return {"preset": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _says_one_thing(self) -> "WindowRecipe":
        levels = (self.low, self.high) if self.low is not None and self.high is not None else None
        said = [one for one in (self.preset, levels, self.percentiles) if one is not None]
        if len(said) > 1 or (levels is None and (self.low, self.high) != (None, None)):
            raise ValueError("give one of: a preset, 'low' with 'high', or 'percentiles'")
        edges = levels or self.percentiles
        if edges is not None and not edges[0] < edges[1]:
            raise ValueError(f"the low end must be below the high end; given {edges[0]:g} and {edges[1]:g}")
        return self


class BodyCropRecipe(Recipe):
    """Keep the box of the body, every labelled voxel, and ``margin_mm`` around them.

    The body is the largest connected thing brighter than ``above``: −300 HU in CT if it is not
    given, elsewhere the level that parts background from foreground best (Otsu's).
    """

    margin_mm: float = Field(default=10.0, ge=0, le=1000)
    above: float | None = Field(default=None, allow_inf_nan=False)


class PrepareRecipe(Recipe):
    """What is done to a scan before it is stored, in this order; nothing by default.

    ``orientation`` turns and mirrors the array until its axes X, Y and Z run to these sides of
    the patient (``LPS``, ``RAS``, …). ``crop_to_body`` cuts air away. ``spacing_mm_zyx``
    resamples along the array's own axes; null keeps an axis. ``window`` says which grey levels
    become 0 and 1 and leaves every voxel as it was measured.
    """

    orientation: Orientation | None = None
    crop_to_body: BodyCropRecipe | None = None
    spacing_mm_zyx: tuple[Millimetres | None, Millimetres | None, Millimetres | None] | None = None
    interpolation: Literal["linear", "bspline"] = "linear"
    window: WindowRecipe = WindowRecipe()


class IngestRecipe(Recipe):
    """How files become volumes. Chunks are derived from the patch shape that will be read.

    A file that is larger than ``max_bytes``, packed or unpacked, is refused before any of its
    voxels gets memory, and so is one that ``prepare`` would make larger. A CT of 512 × 512 ×
    2,000 has 1 GiB. ``num_coarser_levels`` are stored beside each volume for viewers; if it is
    not given, only a volume of more than 512³ voxels has them.
    """

    patch_shape_zyx: ShapeZyx = (1, 64, 64)
    class_names: tuple[str, ...] = ()
    max_bytes: int = Field(default=8 << 30, ge=1 << 20)
    prepare: PrepareRecipe = PrepareRecipe()
    num_coarser_levels: int | None = Field(default=None, ge=0, le=12)


class SliceRecipe(Recipe):
    """Whole slices of scans in one plane of the patient, every one or every n-th."""

    plane: Plane
    every: int = Field(default=1, ge=1)


class PoolRecipe(Recipe):
    """Which patches may be asked about.

    Without ``patch_shape_zyx`` every item (whole image, frame or block) is a candidate; with
    ``slices`` every slice of every item is, whatever its size.
    ``min_occupancy`` drops patches of which a smaller share of voxels is above the
    volume's background level: nobody should be paid to look at air.
    """

    patch_shape_zyx: ShapeZyx | None = None
    stride_zyx: ShapeZyx | None = None
    slices: SliceRecipe | None = None
    min_occupancy: Share = 0.0
    candidates_per_shard: int = Field(default=512, ge=1)
    split: SplitRecipe = SplitRecipe()

    @model_validator(mode="after")
    def _slices_or_patches(self) -> "PoolRecipe":
        if self.slices is not None and (self.patch_shape_zyx is not None or self.stride_zyx is not None):
            raise ValueError("'slices' are whole: give either slices, or patch_shape_zyx with its stride_zyx")
        return self


class ScoreRecipe(Recipe):
    """One forward pass a candidate: every scorer's value, the embedding, the draft's classes.

    ``members`` says where several opinions come from: ``{kind: single}``, ``{kind: heads}``,
    ``{kind: mirrors, num_members: 4}``, ``{kind: dropout, num_members: 8}`` or
    ``{kind: views, num_views: 8}``. ``reduce`` turns a voxel map into a candidate's score.
    """

    members: Choice = Choice(kind="single")
    scorers: tuple[Choice, ...] = (Choice(kind="margin"), Choice(kind="entropy"))
    reduce: Choice = Choice(kind="mean")
    seed: int = 0


class ArmRecipe(Recipe):
    """A share of a round's budget and the sampler that spends it."""

    share: Share
    sampler: Choice


class SelectRecipe(Recipe):
    """Whom to ask: arms in order, each with its share. ``cold_start`` asks before there is a model."""

    arms: tuple[ArmRecipe, ...] = (ArmRecipe(share=1.0, sampler=Choice(kind="random")),)
    cold_start: Choice = Choice(kind="random")
    num: int = Field(default=20, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "SelectRecipe":
        total = sum(arm.share for arm in self.arms)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the arms' shares must sum to 1; they sum to {total:g}")
        return self


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


class FinetuneRecipe(Recipe):
    """How a checkpoint is trained from a label set.

    ``from``: 'scratch'; 'champion', the model in force; 'previous', the last round's model even
    if it was not promoted; 'first', the first round's. ``data``: 'all' answers, those 'new' to the
    model that is gone on from, or 'new_and_misclassified'. Going on, the learning rate is multiplied
    by ``continue_learning_rate_factor``. The first training, which has nothing to go on from, may take
    another number of steps: ``num_first_steps``. A batch is cut into
    ``num_chunks`` whose gradients are added in a fixed order, so that any number of workers
    up to ``num_chunks`` reaches the same weights. The learning rate rises over the share
    ``warm_up`` of the steps and then follows ``schedule``; gradients longer than ``clip_norm``
    are shortened to it. Without ``loss``, the question's own is taken. In segmentation the
    cross-entropy of a class weighs its share of the answered voxels to the power
    −``rare_class_exponent``, background 1: without it small structures are never predicted.

    ``train_precision`` is that of the network's layers (autocast); loss, gradients and weights are float32.
    With ``ema_decay`` the checkpoint holds the running mean of the weights. ``patch_shape_zyx``
    trains on crops of answered label maps; with ``foreground_share`` that share of the crops is
    centred on a foreground voxel, every class as often, and no crop misses all that was answered.
    """

    start: Literal["scratch", "champion", "previous", "first"] = Field(default="scratch", alias="from")
    data: Literal["all", "new", "new_and_misclassified"] = "all"
    misclassified: MisclassifiedRecipe = MisclassifiedRecipe()
    continue_learning_rate_factor: float = Field(default=1.0, gt=0, le=1)
    architecture: Choice = Choice(kind="unet")
    num_steps: int = Field(default=300, ge=1)
    num_first_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    num_chunks: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warm_up: Share = 0.1
    clip_norm: float = Field(default=1.0, gt=0)
    loss: Choice | None = None
    balance_classes: bool = True
    rare_class_exponent: Share = 0.4
    augment: tuple[Choice, ...] = (Choice(kind="flip"), Choice(kind="shift"), Choice(kind="intensity"))
    consistency: ConsistencyRecipe | None = None
    checkpoint_every: int = Field(default=100, ge=1)
    train_precision: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    early_stop: EarlyStopRecipe | None = None
    patch_shape_zyx: ShapeZyx | None = None
    foreground_share: Share | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _chunks_are_equal(self) -> "FinetuneRecipe":
        if self.batch_size % self.num_chunks:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of num_chunks {self.num_chunks}")
        return self

    @model_validator(mode="after")
    def _only_what_goes_on_has_something_before_it(self) -> "FinetuneRecipe":
        if self.start == "scratch":
            if self.num_first_steps is not None:
                raise ValueError("num_first_steps is for 'from: champion'; from scratch every training is a first one")
            if self.continue_learning_rate_factor != 1:
                raise ValueError("continue_learning_rate_factor is for trainings that go on; from scratch none does")
            if self.data != "all":
                raise ValueError(
                    f"data: {self.data} is for trainings that go on from a model (from: previous, champion or first); "
                    "from scratch every answer is new"
                )
        if self.data != "new_and_misclassified" and self.misclassified != MisclassifiedRecipe():
            raise ValueError("'misclassified' is for 'data: new_and_misclassified'; leave it out")
        return self

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
            settled["start"] = "scratch"
        return self.model_copy(update=settled)


class EvaluateRecipe(Recipe):
    """Metrics on held-out patients, each with a bootstrap interval over patients or items.

    Segmentation answers by windows that share ``overlap`` of their length with the next. The
    answer is the mean over ``members``: ``{kind: heads}`` is the ensemble of a UNet++'s heads.
    ``sides`` says whose patients are looked at: a sweep must not see the test side.
    ``surface_tolerance_mm`` is how far a surface may lie off and still be right; None measures no
    surfaces. Lesions, components whose voxels are among each other's ``lesion_neighbours``, are
    told by size in bands of diameter that ``lesion_bands_mm`` part, and found when at least
    ``lesion_overlap`` of one is covered (0: any voxel).
    """

    sides: tuple[Literal["validation", "test"], ...] = ("validation", "test")
    members: Choice = Choice(kind="single")
    overlap: float = Field(default=0.5, ge=0, lt=1)
    surface_tolerance_mm: float | None = Field(default=1.0, ge=0, allow_inf_nan=False)
    lesion_bands_mm: tuple[float, ...] = (6.0, 10.0)
    lesion_overlap: float = Field(default=0.0, ge=0, le=1)
    lesion_neighbours: Literal[6, 18, 26] = 26
    num_resamples: int = Field(default=500, ge=0)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _bands_ascend(self) -> "EvaluateRecipe":
        edges = (0.0, *self.lesion_bands_mm)
        if not all(low < high for low, high in pairwise(edges)):
            raise ValueError(f"lesion_bands_mm must ascend from above 0, such as [6, 10]; given {self.lesion_bands_mm}")
        return self


class PromoteRecipe(Recipe):
    """Promote when ``metric`` on the validation side is not worse than the champion's by more than ``tolerance``.

    ``metric`` 'auto' is balanced accuracy for classify and mean foreground Dice for segment.
    """

    metric: str = "auto"
    tolerance: float = Field(default=0.002, ge=0)


class PruneRecipe(Recipe):
    """The shallowest depth whose ``metric`` on validation patients is within ``tolerance`` of the deepest's.

    ``depth`` forces one. ``metric`` 'auto' is the one that promotes.
    """

    tolerance: float = Field(default=0.01, ge=0)
    depth: int | None = Field(default=None, ge=1)
    metric: str = "auto"
    evaluate: EvaluateRecipe = EvaluateRecipe()


class StopRecipe(Recipe):
    """Stop early: after ``num_rounds`` rounds that gained less than ``min_gain`` each."""

    num_rounds: int = Field(default=3, ge=1)
    min_gain: float = Field(default=0.0, ge=0)


class BudgetRecipe(Recipe):
    """How many candidates may be asked about, a round and in all."""

    num_first_round: int | None = Field(default=None, ge=1)
    num_per_round: int = Field(default=20, ge=1)
    num_in_total: int = Field(default=200, ge=1)
    stop: StopRecipe | None = None


class CampaignRecipe(Recipe):
    """One campaign, read top to bottom as one round.

    ``ingest`` is for ``hilum ingest --recipe``; its voxels are laid out for the pool's patches
    unless it says otherwise.
    """

    question: Question
    ingest: IngestRecipe = IngestRecipe()
    pool: PoolRecipe = PoolRecipe()
    score: ScoreRecipe = ScoreRecipe()
    select: SelectRecipe = SelectRecipe()
    annotator: Choice = Choice(kind="directory")
    finetune: FinetuneRecipe = FinetuneRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    promote: PromoteRecipe = PromoteRecipe()
    campaign: BudgetRecipe = BudgetRecipe()


class SimulateRecipe(Recipe):
    """Strategies × seeds over one campaign recipe. 'random' is always among the strategies.

    With ``full_data`` the first ``num_full_data_seeds`` seeds also train on every label of the pool.

    A strategy is a set of changes to the campaign recipe (``score``, ``select``, ``finetune``).
    """

    campaign: CampaignRecipe
    strategies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    full_data: bool = True
    num_full_data_seeds: int = Field(default=3, ge=1)
    title: str = ""
