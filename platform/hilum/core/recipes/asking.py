"""Whom to ask: how candidates are scored and chosen."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from hilum.core.agreement import Consensus
from hilum.core.recipes.base import Choice, Question, Recipe, Share
from hilum.core.recipes.schedules import beta_schedule


class ForegroundRecipe(Recipe):
    """What knows of foreground before anybody has answered: a ``checkpoint`` of the store, or an ``atlas``.

    The checkpoint segments: foreground is whatever it takes for another class than background, its class 0. The atlas
    is the id of an atlas that was taken in (`hilum data atlas`); each voxel has the value of the atlas' voxel nearest
    to it in the world (mm), and lies in the background outside the atlas.
    """

    checkpoint: str | None = None
    atlas: str | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "ForegroundRecipe":
        if (self.checkpoint is None) == (self.atlas is None):
            raise ValueError(
                "give one of: 'checkpoint', the id of a model that segments, or 'atlas', the id of an atlas"
            )
        return self

    @property
    def source(self) -> str:
        """The id of what knows."""
        return str(self.checkpoint or self.atlas)


class ScoreRecipe(Recipe):
    """One forward pass a candidate: every scorer's value, the embedding, the draft's classes.

    ``members`` says where several opinions come from: ``{kind: single}``, ``{kind: heads}``,
    ``{kind: mirrors, num_members: 4}``, ``{kind: dropout, num_members: 8}`` or
    ``{kind: views, num_views: 8}``. ``reduce`` turns a voxel map into a candidate's score. ``keep_members``
    keeps every member's class probabilities, for samplers that compare candidates by them (classes only).
    ``encoder`` names a checkpoint of the store, usually a pretrained one, whose encoder embeds the candidates before
    there is a model; without it their pixels do. ``num_views`` augmented views of every candidate are embedded too,
    as long as there is no model, for a cold start that contrasts them. ``foreground`` says what share of each candidate
    is foreground, in every round, for `foreground_random`; without it that asks where the round's own model sees any.
    """

    members: Choice = Choice(kind="single")
    scorers: tuple[Choice, ...] = (Choice(kind="margin"), Choice(kind="entropy"))
    reduce: Choice = Choice(kind="mean")
    keep_members: bool = False
    encoder: str | None = None
    num_views: int = Field(default=0, ge=0, le=64)
    foreground: ForegroundRecipe | None = None
    seed: int = 0


class ArmRecipe(Recipe):
    """A share of a round's budget and the sampler that spends it.

    A sampler's ``beta`` is a number, or ``{first, last, num_rounds}``: from one to the other over the rounds.
    """

    share: Share
    sampler: Choice

    @field_validator("sampler")
    @classmethod
    def _schedule_is_whole(cls, sampler: Choice) -> Choice:
        beta_schedule(sampler)
        return sampler

    def of_round(self, round_number: int) -> "ArmRecipe":
        """This arm with the number that its schedule gives; rounds are counted from 0, the first that a model asks."""
        schedule = beta_schedule(self.sampler)
        if schedule is None:
            return self
        sampler = self.sampler.model_copy(update={"beta": schedule.at(round_number)})
        return self.model_copy(update={"sampler": sampler})


class QuotaRecipe(Recipe):
    """No more than ``max_share`` of a round's picks from one patient, predicted class, modality or machine.

    ``scanner`` is the maker and the model; a header that does not say is a machine of its own. Sites are not
    kept of any header.
    """

    by: Literal["patient", "class", "modality", "manufacturer", "scanner"]
    max_share: float = Field(gt=0, le=1)


class CostRecipe(Recipe):
    """How long a question takes, until people's own times say it better.

    ``opening_seconds`` for each question, ``seconds_per_slice`` to look at one, ``seconds_per_1000_voxels`` to outline
    as many. From ``min_times`` answers whose seconds are told the three are learnt from these instead.
    """

    opening_seconds: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    seconds_per_slice: float = Field(default=2.0, ge=0, allow_inf_nan=False)
    seconds_per_1000_voxels: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    min_times: int = Field(default=20, ge=5)


class DistributedRecipe(Recipe):
    """Each ``parts_per_shard`` parts of the score run give a core-set; the round is picked from all of these.

    The shards, and so the picks, are the same for any number of workers.
    """

    parts_per_shard: int = Field(default=8, ge=1)


class RelabelRecipe(Recipe):
    """A share of a round's questions goes to candidates that are answered already, for somebody else to answer.

    To those that fewer than ``max_annotators`` have answered, the most doubtful first: classes by ActiveLab, outlines
    by how little the answers cover each other, or the one answer and the model that had not seen it. Where there are
    fewer of them, the arms get the rest. ``consensus`` makes one of several answers: ``majority``, ``crowdlab``
    (classes) or ``staple`` (outlines); without it classes go by crowdlab and outlines by majority.
    """

    share: float = Field(gt=0, lt=1)
    max_annotators: int = Field(default=3, ge=2)
    consensus: Consensus | None = None

    def consensus_on(self, question: Question) -> Consensus:
        """How several answers to this question become one."""
        return self.consensus or ("crowdlab" if question == "classify" else "majority")


class SelectRecipe(Recipe):
    """Whom to ask: arms in order, each with its share. ``cold_start`` asks before there is a model.

    ``max_per_patient`` and ``quotas`` cap every round anew, all arms together; ``exclude`` names candidates,
    volumes or patients that are never asked about.

    Candidates thinner along one axis than along both others, slices above all, lie at least ``min_slices_apart`` along
    it from each other and from what is answered, counted from slice to slice of one scan: 1 lets neighbours be. Those
    that do not cover each other across the axis are left alone.

    With ``cost`` the seconds of every question are predicted, and an arm's sampler may read any score for each of
    them: ``score: margin_per_second``. No more are asked than fit into ``max_seconds``.

    ``relabel`` asks some again, beside the arms, which share what is left; caps and slices apart are the arms' alone.

    With ``distributed`` the workers choose core-sets first, for arms of `k_centre` without a shortlist and `kmeans_pp`;
    another ``cold_start`` still reads the whole pool in one process.
    """

    arms: tuple[ArmRecipe, ...] = (ArmRecipe(share=1.0, sampler=Choice(kind="random")),)
    cold_start: Choice = Choice(kind="random")
    num: int = Field(default=20, ge=1)
    max_per_patient: int | None = Field(default=None, ge=1)
    quotas: tuple[QuotaRecipe, ...] = ()
    exclude: tuple[str, ...] = ()
    min_slices_apart: int | None = Field(default=None, ge=1)
    cost: CostRecipe | None = None
    max_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    relabel: RelabelRecipe | None = None
    distributed: DistributedRecipe | None = None
    seed: int = 0

    @property
    def has_schedules(self) -> bool:
        """Whether an arm asks otherwise in one round than in another."""
        return any(beta_schedule(arm.sampler) is not None for arm in self.arms)

    def of_round(self, round_number: int) -> "SelectRecipe":
        """The recipe of one round, the first that a model asks being 0: a number for every schedule."""
        return self.model_copy(update={"arms": tuple(arm.of_round(round_number) for arm in self.arms)})

    @field_validator("exclude")
    @classmethod
    def _in_one_order(cls, named: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(named)))

    @model_validator(mode="after")
    def _seconds_are_predicted(self) -> "SelectRecipe":
        if self.max_seconds is not None and self.cost is None:
            raise ValueError("max_seconds needs a 'cost' that says how long a question takes, such as {}")
        return self

    @model_validator(mode="after")
    def _core_sets_suit_the_arms(self) -> "SelectRecipe":
        unsuited = [arm.sampler.kind for arm in self.arms if not has_core_sets(arm.sampler)]
        if self.distributed is not None and unsuited:
            raise ValueError(
                f"distributed goes with {{kind: k_centre}} without a shortlist and {{kind: kmeans_pp}}; given "
                f"{', '.join(unsuited)}. Leave 'distributed' out to select in one process"
            )
        return self

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "SelectRecipe":
        total = sum(arm.share for arm in self.arms)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the arms' shares must sum to 1; they sum to {total:g}")
        return self


def has_core_sets(sampler: Choice) -> bool:
    """Whether what this sampler picks of each shard can stand for the shard when it picks of all."""
    return sampler.kind == "kmeans_pp" or (sampler.kind == "k_centre" and sampler.params.get("shortlist") is None)
