"""What a request asks for beside its image, as its query says; FastAPI checks it and documents it."""

from typing import Annotated, Literal

from fastapi import Query

Quality = Literal["fast", "balanced", "accurate"]
Format = Literal["nifti", "npy", "png", "json"]

QualityOf = Annotated[
    Quality | None,
    Query(description="How deep a nested network answers: shallower is faster. Accurate if nothing is said."),
]
DepthOf = Annotated[int | None, Query(ge=1, le=16, description="The depth itself, one that the model has.")]
FormatOf = Annotated[
    Format,
    Query(
        alias="format",
        description="nifti: a label map on the image's grid; npy: the same as an array (Z, Y, X); png: the middle or "
        "only slice with its outlines; json: polygons and sizes.",
    ),
]
MirrorsOf = Annotated[
    int | None, Query(ge=2, le=8, description="Mean over so many mirror images; says where they disagree.")
]
BiomarkersOf = Annotated[bool, Query(description="Volume, diameters and surface of every class (json).")]
