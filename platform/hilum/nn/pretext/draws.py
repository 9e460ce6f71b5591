"""Random numbers inside compiled loops: one 64-bit key from a ``Generator``, then number after number by counting.

The n-th word of a key is SplitMix64's (https://doi.org/10.1145/2714064.2660195): a function of key and n alone, so
that loops over it are vectorised, and the same on every machine.
"""

import numpy as np
import numpy.typing as npt

from hilum.nn.compiled import compiled
from hilum.nn.pretext.pretext import Floats

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32, _40 = (np.uint64(bits) for bits in (30, 27, 31, 32, 40))
_LOW = np.uint64(0xFFFFFFFF)
_FLOAT = np.float32(2**-24)


def key_from(rng: np.random.Generator) -> np.uint64:
    """A key for one deformation of one crop."""
    return np.uint64(rng.integers(2**64, dtype=np.uint64))


def noise(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Uniform noise, 0 or more and below 1."""
    values = np.empty(shape, np.float32)
    _fill(values.reshape(-1), key_from(rng))
    return values


@compiled
def word(key: np.uint64, number: np.uint64) -> np.uint64:
    """64 random bits."""
    mixed = key + number * _STEP
    mixed = (mixed ^ (mixed >> _30)) * _FIRST
    mixed = (mixed ^ (mixed >> _27)) * _SECOND
    return mixed ^ (mixed >> _31)


@compiled
def low_below(bits: np.uint64, limit: int) -> np.int64:
    """A whole number from 0 to below ``limit``, from the lower half of a word; for limits far below 2³²."""
    return np.int64(((bits & _LOW) * np.uint64(limit)) >> _32)


@compiled
def high_below(bits: np.uint64, limit: int) -> np.int64:
    """The same from the upper half."""
    return np.int64(((bits >> _32) * np.uint64(limit)) >> _32)


@compiled
def _fill(values: npt.NDArray[np.float32], key: np.uint64) -> None:
    for place in range(values.size // 2):
        bits = word(key, np.uint64(place))
        values[2 * place] = np.float32((bits & _LOW) >> np.uint64(8)) * _FLOAT
        values[2 * place + 1] = np.float32(bits >> _40) * _FLOAT
    if values.size % 2:
        values[values.size - 1] = np.float32(word(key, np.uint64(values.size // 2)) >> _40) * _FLOAT
