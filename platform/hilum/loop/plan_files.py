"""A plan as YAML that a person can read and change: every choice under the sentence that gives its reason."""

from collections.abc import Mapping
from typing import Any

import yaml

from hilum.core.errors import RecipeError
from hilum.core.fingerprint import Fingerprint, Numbers, Spread
from hilum.loop.planning import Memory, Plan

NNUNET = "https://doi.org/10.1038/s41592-020-01008-z"
_UNITS = {"MB": 10**6, "MIB": 1 << 20, "GB": 10**9, "GIB": 1 << 30, "TB": 10**12, "TIB": 1 << 40}


def as_commented_yaml(plan: Plan, fingerprint: Fingerprint, *, ingest_id: str, memory: Memory) -> str:
    """The whole file. The same plan is the same bytes."""
    seen = f"{fingerprint.num_volumes} volumes ({fingerprint.num_items} images) of {fingerprint.num_patients} patients"
    unread = f"; {fingerprint.num_unreadable} could not be read" if fingerprint.num_unreadable else ""
    head = [
        f"# A plan for ingest {ingest_id}: {seen}, without the test side{unread}.",
        f"# Memory: {memory}. Rules: nnU-Net's ({NNUNET}). Every line may be changed.",
        *(f"# {fact}." for fact in _facts(fingerprint)),
        *(f"# Note: {note}." for note in plan.notes),
    ]
    return "\n".join([*head, *_lines(plan.content, plan.reasons, "", 0)]) + "\n"


def _facts(fingerprint: Fingerprint) -> list[str]:
    """The fingerprint in a few lines: Z × Y × X, the median with its 10 and 90 percentiles."""
    spacing = fingerprint.spacing_mm_zyx
    facts = [
        f"Spacing {_spread(spacing)} mm, "
        f"anisotropy {fingerprint.anisotropy:.2g}; size {_spread(fingerprint.item_shape_zyx)} voxels"
    ]
    for name, levels in fingerprint.grey_levels.items():
        said = [
            f"{of} {_levels(found)}" for of, found in (("all", levels.all), ("foreground", levels.foreground)) if found
        ]
        facts.append(
            f"{fingerprint.modalities[name]} of modality {name}: grey levels (0.5, 50, 99.5 %) {', '.join(said)}"
        )
    return facts


def _times(numbers: Numbers) -> str:
    return " × ".join(f"{number:.3g}" for number in numbers)


def _levels(numbers: Numbers) -> str:
    return " / ".join(f"{number:.4g}" for number in numbers)


def _spread(spread: Spread) -> str:
    return f"{_times(spread.median)} ({_times(spread.p10)} to {_times(spread.p90)})"


def parsed_memory(text: str) -> int:
    """'8GiB' in bytes; RecipeError for anything else."""
    number = text.strip().rstrip("BbIiKkMmGgTt").strip()
    unit = text.strip()[len(number) :].strip().upper()
    try:
        num_bytes = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        num_bytes = 0
    if num_bytes < 1 << 20:
        raise RecipeError(f"--memory takes a size from 1MiB upwards, such as 8GiB or 500MB; given '{text}'.")
    return num_bytes


def _lines(content: Mapping[str, Any], reasons: Mapping[str, str], path: str, depth: int) -> list[str]:
    lines = []
    for key, value in content.items():
        here = f"{path}{key}"
        margin = "  " * depth
        if here in reasons:
            lines.append(f"{margin}# {reasons[here]}")
        if isinstance(value, Mapping) and _is_section(here):
            lines += [f"{margin}{key}:", *_lines(value, reasons, f"{here}.", depth + 1)]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping) and len(_flow(value)) > 100:
            lines += [f"{margin}{key}:", *(f"{margin}  - {_flow(one)}" for one in value)]
        else:
            lines.append(f"{margin}{key}: {_flow(value)}")
    return lines


def _is_section(path: str) -> bool:
    return path in {"ingest", "ingest.prepare", "finetune.architecture"} or "." not in path


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("...").strip()
