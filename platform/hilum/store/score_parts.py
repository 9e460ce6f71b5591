"""The parts of a score run: one a shard of the pool, numbered as the pool is cut."""

from hilum.store.manifest import Manifest

_PART = "part-"


def part_name(number: int) -> str:
    return f"{_PART}{number:05d}.parquet"


def part_names(scores: Manifest) -> list[str]:
    """Every part of a finished score run, by its number."""
    return [part_name(number) for number in range(sum(name.startswith(_PART) for name in scores.files))]
