"""Who asks the inference service, and what they may: by a key of ours, or by a token of an issuer that we trust."""

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Right = Literal["predict", "read", "metrics"]
RIGHTS: tuple[Right, ...] = get_args(Right)
IngestName = Annotated[str, Field(pattern=r"^(\*|[0-9a-f]{12})$")]


def _aware(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise ValueError("a time needs its zone, such as 2027-01-31T00:00:00Z")
    return moment


class Caller(BaseModel):
    """Who may ask for what. ``models`` are names, with ``*`` for any part; ``per_minute`` 0 bounds nothing.

    ``reads`` are the ingests whose stored volumes may be named, ``*`` all of them: none unless it is said, for what is
    answered of an image shows the image. ``sha256`` is what jobs and rates know the caller by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(min_length=1, max_length=300)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    may: tuple[Right, ...] = ("predict", "read")
    models: tuple[str, ...] = ("*",)
    reads: tuple[IngestName, ...] = ()
    per_minute: int = Field(default=0, ge=0)
    until: Annotated[datetime | None, AfterValidator(_aware)] = None

    def allows(self, right: Right, model: str | None = None) -> bool:
        """Whether this caller may do that, with that model if one is named, now."""
        if self.until is not None and datetime.now(tz=UTC) >= self.until:
            return False
        return right in self.may and (model is None or any(fnmatchcase(model, one) for one in self.models))

    def may_read(self, ingest_id: str) -> bool:
        """Whether this caller may have stored volumes of that ingest answered."""
        return "*" in self.reads or ingest_id in self.reads
