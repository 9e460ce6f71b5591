"""An answer as it goes out: JSON, or a file with who answered in its headers."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Response

from hilum.loop.answering.answer import Answer
from hilum.loop.answering.telling import ENDINGS, FileFormat, as_file, classified, outlined, scored
from hilum_services.inference.asked import Asked

if TYPE_CHECKING:
    from hilum.adapters.dicom_results import SourceImages

_TYPES: Mapping[FileFormat, str] = {
    "nifti": "application/gzip",
    "npy": "application/octet-stream",
    "png": "image/png",
    "ome-zarr": "application/zip",
    "dicom-seg": "application/dicom",
}
KINDS = (*_TYPES.values(), "application/json")
"""Media types of what `reply` gives."""


def reply(asked: Asked, answer: Answer, source: "SourceImages | None" = None) -> Response:
    """What goes out for what was asked; ``source`` are the files that a DICOM segmentation refers to."""
    if asked.verb == "classify":
        return _json(classified(answer))
    if asked.verb == "score":
        return _json(scored(answer))
    if asked.format == "json":
        return _json(outlined(answer, measured=asked.biomarkers))
    name = {"Content-Disposition": f'attachment; filename="answer{ENDINGS[asked.format]}"'}
    content = as_file(answer, asked.format, source)
    return Response(content, media_type=_TYPES[asked.format], headers={**_headers(answer), **name})


def _headers(answer: Answer) -> dict[str, str]:
    """Who answered, and how sure, of an answer that is a file."""
    said = {
        "Hilum-Model": answer.version.model,
        "Hilum-Version": answer.version.checkpoint_id,
        "Hilum-Beside": ",".join(other.checkpoint_id for other in answer.beside),
        "Hilum-Depth": "" if answer.depth is None else str(answer.depth),
        "Hilum-Licence": answer.version.licence.encode("ascii", "replace").decode(),
        "Hilum-Uncertainty": f"{answer.uncertainty:.6f}",
        "Hilum-Calibrated": str(answer.is_calibrated).lower(),
        "Hilum-Unlike": "" if answer.is_unlike is None else str(answer.is_unlike).lower(),
        "Hilum-Classes": json.dumps(list(answer.version.class_names)),
    }
    return {name: value for name, value in said.items() if value}


def _json(content: Any) -> Response:
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")
