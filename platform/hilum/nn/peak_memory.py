"""`python -m hilum.nn.peak_memory < card.json`: how much memory one patch takes, in mebibytes, as JSON.

A process of its own, because a process that has answered before keeps memory that the next
answer finds free. The kernel is asked to forget the highest water mark (`clear_refs`) once the
network is loaded and has answered something tiny, so that neither the import of torch nor a
parent's memory counts. Without /proc (not Linux) the answer is null.
"""

import json
import sys
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
        network(torch.zeros(1, card["in_channels"], *[1] * len(shape)))
        patch_1CS = torch.rand(1, card["in_channels"], *shape)
        try:
            _CLEAR.write_text(_FORGET_PEAK)
            before = _kib("VmRSS")
            network(patch_1CS)
            return max(0, _kib("VmHWM") - before) / 1024
        except OSError:
            return None


def _kib(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(peak_mib(json.load(sys.stdin))) + "\n")
