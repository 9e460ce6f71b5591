"""What is wrong with a recipe, in one sentence with the likely meaning."""

from collections.abc import Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hilum.core.errors import unknown_name


def explain(model: type[BaseModel], error: ValidationError, source: str) -> str:
    """The first thing pydantic refused, as a sentence for the person who wrote the file."""
    found = error.errors()
    # A misspelt key is also a missing one: the misspelling is the one to tell.
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    path = [part for part in first["loc"] if not _is_internal(part)]
    where = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        parent = _model_at(model, path[:-1])
        place = ".".join(str(part) for part in path[:-1]) or "at the top level"
        return f"{source}, {place}: {unknown_name('key', str(path[-1]), _keys(parent))}"
    if first["type"] == "missing":
        return f"{source}: '{where}' is missing{_allowed(model, path)}."
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return f"{source}: {message}."
    return f"{source}, {where}: {message} (given {_short(first['input'])})."


def _is_internal(part: Any) -> bool:
    """Pydantic adds its own words to a location, such as 'function-after[…]'."""
    return isinstance(part, str) and "[" in part


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys(model: type[BaseModel] | None) -> list[str]:
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _allowed(model: type[BaseModel], path: Sequence[Any]) -> str:
    parent = _model_at(model, path[:-1])
    field = parent.model_fields.get(str(path[-1])) if parent else None
    choices = [str(choice) for choice in get_args(field.annotation)] if field else []
    return f": give {' or '.join(choices)}" if choices else ""


def _model_at(model: type[BaseModel], path: Sequence[Any]) -> type[BaseModel] | None:
    """The model that a location inside a recipe belongs to, through tuples and optional fields."""
    here: type[BaseModel] | None = model
    for part in path:
        if here is None:
            return None
        if isinstance(part, int):
            continue  # a place in a list: the model is the list's
        by_key = {field.alias or name: field for name, field in here.model_fields.items()}
        field = by_key.get(str(part)) or here.model_fields.get(str(part))
        here = _model_in(field.annotation) if field else None
    return here


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list, dict, Union, UnionType) or get_args(annotation):
        found = (_model_in(inner) for inner in get_args(annotation))
        return next((one for one in found if one is not None), None)
    return None
