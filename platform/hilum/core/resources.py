"""How fast a step may compute. Never hashed: resources change the seconds, not the answer."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Resources(BaseModel):
    """One profile (``platform/recipes/resources/*.yaml``), chosen with ``--on NAME``.

    ``num_train_workers`` 0 trains in the calling process through Ray Train's local mode. With
    ``min_train_workers`` a training also runs with fewer, as many as there is room for.
    ``num_readers`` threads of each training worker read ahead; 0 reads when data is needed.
    A worker that is at one shard for ``hung_after_seconds`` is killed, and the shard is done anew; so it is with one
    that dies, ``max_failures`` times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    num_score_workers: int = Field(default=2, ge=1)
    num_ingest_workers: int = Field(default=2, ge=1)
    num_train_workers: int = Field(default=0, ge=0)
    min_train_workers: int | None = Field(default=None, ge=1)
    num_readers: int = Field(default=0, ge=0)
    num_parallel_branches: int = Field(default=2, ge=1)
    cpus_per_worker: float = Field(default=1.0, gt=0)
    gpus_per_worker: float = Field(default=0.0, ge=0)
    score_batch_size: int = Field(default=64, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    max_failures: int = Field(default=3, ge=0)
    hung_after_seconds: float = Field(default=3600.0, gt=0)

    @model_validator(mode="after")
    def _no_more_at_least_than_at_most(self) -> "Resources":
        if self.min_train_workers is not None and self.min_train_workers > self.num_train_workers:
            raise ValueError(
                f"min_train_workers {self.min_train_workers} must be at most num_train_workers {self.num_train_workers}"
            )
        return self
