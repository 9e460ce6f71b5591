"""A number that changes from round to round."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from hilum.core.recipes.base import Choice, Recipe


class ScheduleRecipe(Recipe):
    """From ``first`` to ``last`` in ``num_rounds`` rounds, each the same multiple of the one before; then ``last``.

    ClaSP PE's β is ``{first: 1, last: 100, num_rounds: 5}``: 1, 3.16, 10, 31.6, 100.
    """

    first: float = Field(gt=0, allow_inf_nan=False)
    last: float = Field(gt=0, allow_inf_nan=False)
    num_rounds: int = Field(ge=2)

    def at(self, round_number: int) -> float:
        """The number of a round, the first being 0; of every round after the last as in that."""
        if round_number >= self.num_rounds - 1:
            return self.last
        share = round_number / (self.num_rounds - 1)
        return float(self.first * (self.last / self.first) ** share)


def beta_schedule(sampler: Choice) -> ScheduleRecipe | None:
    """The schedule that a sampler's ``beta`` is; None when it is a number or not given. ValueError if it is neither."""
    beta: Any = sampler.params.get("beta")
    if not isinstance(beta, Mapping):
        return None
    try:
        return ScheduleRecipe.model_validate(beta)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["beta", *(str(part) for part in first["loc"])])
        raise ValueError(
            f"{where}: {first['msg']}; beta is a number, or a schedule such as {{first: 1, last: 100, num_rounds: 5}}"
        ) from None
