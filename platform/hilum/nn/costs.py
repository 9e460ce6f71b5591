"""What a network costs on one CPU thread: parameters, operations, seconds and memory, each measured.

Seconds are this machine's and today's: they stand in reports and never in a name.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hilum.core.errors import HilumError
from hilum.nn.heads import Network, num_parameters

MOST_ROUNDS, LEAST_ROUNDS = 25, 5
_SECONDS = 4.0
_VOXELS_TOGETHER, _PATCHES_TOGETHER = 500_000, 8
_SEED = 0


@dataclass(frozen=True)
class Cost:
    """One network's costs for one patch.

    ``gflop`` counts a multiplication and an addition as two operations (`torch.utils.flop_counter`).
    ``latency_ms`` is the median of wall seconds of one patch; ``patches_per_second`` is of a batch, by
    CPU time. ``peak_mib`` is what a process of its own, with the network loaded, needs at most
    beyond that while it answers one patch; None where the system cannot tell.
    """

    num_parameters: int
    gflop: float
    latency_ms: float
    patches_per_second: float
    peak_mib: float | None


def measure_costs(networks: Sequence[tuple[Network, Mapping[str, Any]]]) -> list[Cost]:
    """The costs of several networks for their cards' patch, measured in turn so that a busy machine slows all alike."""
    patch_1CS = _patches(networks[0][1], num=1)
    batch_NCS = _patches(networks[0][1], num=_num_together(patch_1CS))
    calls = [_on_cpu(network) for network, _ in networks]
    with torch.inference_mode(), _one_thread():
        seconds = round_robin([_call(network, patch_1CS) for network in calls], clock=time.perf_counter)
        cpu_seconds = round_robin([_call(network, batch_NCS) for network in calls], clock=time.process_time)
        gflops = [_gflop(network, patch_1CS) for network in calls]
    peaks = peak_memory_mib([card for _, card in networks])
    return [
        Cost(
            num_parameters=num_parameters(network),
            gflop=gflop,
            latency_ms=1e3 * latency,
            # process_time ticks in microseconds at best: a batch that took none took one.
            patches_per_second=len(batch_NCS) / max(busy, 1e-6),
            peak_mib=peak,
        )
        for (network, _), gflop, latency, busy, peak in zip(networks, gflops, seconds, cpu_seconds, peaks, strict=True)
    ]


def round_robin(calls: Sequence[Callable[[], object]], *, clock: Callable[[], float]) -> list[float]:
    """The median time of each call, over rounds in which each has one turn; the first round only warms up."""
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    began = time.perf_counter()
    for turn in range(MOST_ROUNDS):
        if turn >= LEAST_ROUNDS and time.perf_counter() - began > _SECONDS:
            break
        for call, times in zip(calls, taken, strict=True):
            start = clock()
            call()
            times.append(clock() - start)
    return [median(times) for times in taken]


def peak_memory_mib(cards: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Mebibytes that answering one patch adds to a process that holds the network of a card (see `peak_memory`)."""
    done = subprocess.run(
        [sys.executable, "-m", "hilum.nn.peak_memory"],
        input=json.dumps([dict(card) for card in cards]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise HilumError(f"Memory could not be measured in a process of its own: {last}")
    peaks: list[float | None] = json.loads(done.stdout.strip().splitlines()[-1])
    return peaks


def _patches(card: Mapping[str, Any], *, num: int) -> Tensor:
    """Seeded noise in the shape of a card's patches: no network here looks at values to decide what to compute."""
    shape = card["patch_shape_zyx"][3 - card["spatial_dims"] :]
    return torch.rand(num, card["in_channels"], *shape, generator=torch.Generator().manual_seed(_SEED))


def _num_together(patch_1CS: Tensor) -> int:
    return max(1, min(_PATCHES_TOGETHER, _VOXELS_TOGETHER // patch_1CS[0, 0].numel()))


def _on_cpu(network: Network) -> Network:
    return network.to("cpu").eval()


def _call(network: Network, images_NCS: Tensor) -> Callable[[], Tensor]:
    return lambda: network(images_NCS)


def _gflop(network: Network, images_NCS: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        network(images_NCS)
    return float(counter.get_total_flops()) / 1e9


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
