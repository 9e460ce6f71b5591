"""`python -m hilum.nn.peak_memory < cards.json`: mebibytes that one patch takes of each network, as JSON.

A process of its own for each network, forked before anything was computed, because a process
that has answered before keeps memory that the next answer finds free. Each answers once before,
so that code and tables that are loaded on the way do not count, and gives back what that left
free; then the kernel is asked to forget the highest water mark (`clear_refs`). Without /proc
(not Linux) the answer is null.
"""

import ctypes
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hilum.nn.predictor import network_of_card

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"


def peak_mib(card: Mapping[str, Any]) -> float | None:
    """The highest resident memory while one patch is answered, above what is resident before."""
    torch.set_num_threads(1)
    network = network_of_card(card).eval()
    shape = card["patch_shape_zyx"][3 - card["spatial_dims"] :]
    with torch.inference_mode():
        patch_1CS = torch.rand(1, card["in_channels"], *shape)
        network(patch_1CS)
        _give_back()
        try:
            _CLEAR.write_text(_FORGET_PEAK)
            before = _kib("VmRSS")
            network(patch_1CS)
            return max(0, _kib("VmHWM") - before) / 1024
        except OSError:
            return None


def _give_back() -> None:
    """Return free heap to the kernel, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kib(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def _in_a_fork(card: Mapping[str, Any]) -> float | None:
    """`peak_mib` in a child of its own."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, json.dumps(peak_mib(card)).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(os.waitstatus_to_exitcode(status))
    peak: float | None = json.loads(answer)
    return peak


if __name__ == "__main__":
    sys.stdout.write(json.dumps([_in_a_fork(card) for card in json.load(sys.stdin)]) + "\n")
