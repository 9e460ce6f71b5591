"""Label Studio's brush code, written and read, beside the SDK's own (`label_studio_sdk.converter.brush`).

Run with ``make bench THEME=label_studio``. Both work in one process and one thread on the same masks; the figure is the
median over turns, in millions of pixels a second of process CPU time. The bits are compared (the SDK's but for its
spare byte), and so are the masks that both read. The SDK is not installed with
hilum: ``pip install --target FOLDER label-studio-sdk`` and PYTHONPATH=FOLDER, where numpy in FOLDER must not be older
than ours (take it away there); without it, rows have no peer.
"""

import importlib
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType

import numpy as np
from rows import missing_row, row, write
from scipy import ndimage

from hilum.adapters.label_studio import brush_rle

SIDES = (512, 1024, 2048)
TURNS = 5
SLOW_SECONDS = 1.0
UNIT = "Mpixel/s"
PEER = "label_studio_sdk.converter.brush"


def organ(side: int) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return x**2 + (y + 0.2 * np.sin(5 * x)) ** 2 < 0.4


def vessel(side: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(side, side)), 2)
    return np.abs(noise) < 0.2 * noise.std()


def salt(side: int) -> np.ndarray:
    return np.random.default_rng(7).random((side, side)) < 0.5


MASKS = {"organ": organ, "vessel": vessel, "salt and pepper": salt}


def peer() -> ModuleType | str:
    """The SDK's codec, or why there is none."""
    try:
        return importlib.import_module(PEER)
    except ImportError as error:
        return f"label-studio-sdk cannot be imported here: {error}"


def sdk_decode(sdk: ModuleType, rle: list[int], shape_yx: tuple[int, int]) -> np.ndarray:
    """As `decode_from_annotation` does it, with our threshold."""
    return sdk.decode_rle(rle).reshape(*shape_yx, 4)[:, :, 3] >= brush_rle.PAINTED


def same_bits(ours: list[int], theirs: list[int]) -> bool:
    return theirs in (ours, [*ours, 0])


def rate(mask: np.ndarray, work: Callable[[], object], check: Callable[[object], bool]) -> float:
    """Megapixels a second; what takes longer than `SLOW_SECONDS` is done once, and its first result is checked."""
    taken = []
    while len(taken) < TURNS and sum(taken) < SLOW_SECONDS:
        begin = time.process_time()
        result = work()
        taken.append(time.process_time() - begin)
        assert taken[1:] or check(result)
    return mask.size / 1e6 / statistics.median(taken)


def measure(mask: np.ndarray, sdk: ModuleType | str) -> dict[str, tuple[float, float | None]]:
    """Megapixels a second of ours and of theirs, for writing and reading."""
    rle, grey, shape = brush_rle.encode(mask), mask.astype(np.uint8) * 255, mask.shape
    written = rate(mask, lambda: brush_rle.encode(mask), lambda found: found == rle)
    read = rate(mask, lambda: brush_rle.decode(rle, shape), lambda found: np.array_equal(found, mask))
    if isinstance(sdk, str):
        return {"encode": (written, None), "decode": (read, None)}
    their_written = rate(mask, lambda: sdk.mask2rle(grey), lambda found: same_bits(rle, found))
    their_read = rate(mask, lambda: sdk_decode(sdk, rle, shape), lambda found: np.array_equal(found, mask))
    return {"encode": (written, their_written), "decode": (read, their_read)}


def main() -> None:
    sdk = peer()
    name = sdk if isinstance(sdk, str) else f"label-studio-sdk {version('label-studio-sdk')}"
    print(f"peer: {name}")
    rows = []
    for kind, make in MASKS.items():
        for side in SIDES:
            for what, (ours, theirs) in measure(make(side), sdk).items():
                said = f"brush code, {what}, {kind} {side}x{side}"
                if theirs is None:
                    print(f"{said:50} {ours:9.1f} {UNIT}")
                    rows.append(missing_row(said, PEER, ours, unit=UNIT, reason=name))
                else:
                    print(f"{said:50} {ours:9.1f} {UNIT}   peer {theirs:9.2f}   ours / peer {ours / theirs:8.1f}")
                    rows.append(row(said, name, ours, theirs, unit=UNIT))
    write("label_studio", rows)


if __name__ == "__main__":
    main()
