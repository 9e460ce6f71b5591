"""What every recipe is made of: frozen, hashed into the result's name, unknown keys refused."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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
