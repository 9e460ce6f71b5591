"""UNet++ L1-L4, U-Net and wide U-Net beside MONAI's and segmentation-models-pytorch's.

Run with ``make bench THEME=network``. Networks take turns in one process and one thread on the
same four images of 96 × 96; the figure is the median over turns, in images a second of process
CPU time (`PERFORMANCE.md`, Method). Features are 32 … 512 everywhere, activation leaky ReLU.
L1-L4 are one UNet++ with four heads, pruned: each answers with its deepest head and is trained
with all of them.

MONAI's networks come with two differences: instance norm (asked for here where it says so, and
taken away elsewhere) and an up-sampling at the top level that keeps all 64 channels where the
papers have 32. "Halved" is MONAI's with its own block in that place that halves: then layers,
parameters and GFLOP are equal to ours, which is checked before anything is measured.

Peak memory is that of a forked child: its ``ru_maxrss`` after the pass less its resident size
before, the network being built already.
"""

import multiprocessing as mp
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import psutil
import torch
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus
from monai.networks.nets.basic_unet import UpCat
from rows import row, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hilum.core.recipes import Choice
from hilum.nn.heads import Segmenter, build_network, num_parameters

FEATURES = (32, 64, 128, 256, 512)
BATCH, SIZE, TURNS = 4, 96, 5
ACTIVATION = ("LeakyReLU", {"negative_slope": 0.01, "inplace": True})
MODES = ("forward", "forward and backward")
Heads = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Subject:
    """A network, how it answers and how every head answers in training."""

    network: nn.Module
    answer: Callable[[Tensor], Tensor]
    heads: Heads

    def run(self, mode: str, images: Tensor) -> None:
        if mode == "forward":
            with torch.inference_mode():
                self.answer(images)
            return
        self.network.zero_grad(set_to_none=True)
        torch.stack([head.square().mean() for head in self.heads(images)]).mean().backward()


def ours(kind: str, **params: Any) -> Subject:
    choice = Choice(kind=kind, depth=4, **{"norm": "none", "features": FEATURES, **params})
    return _subject(build_network("segment", choice, spatial_dims=2, in_channels=1, num_classes=1))


def pruned(norm: str) -> dict[int, Subject]:
    whole = ours("unetpp", norm=norm).network
    return {depth: _subject(Segmenter(whole.body.prune(depth))) for depth in (1, 2, 3, 4)}


def _subject(network: nn.Module) -> Subject:
    return Subject(network, network, network.forward_heads)


def monai(make: type[nn.Module], norm: str, *, halved: bool) -> Subject:
    """MONAI's network of the same features; with ``halved`` its top level is made as the papers'."""
    layer_norm = None if norm == "none" else ("instance", {"affine": True})
    options: dict[str, Any] = {"act": ACTIVATION, "norm": layer_norm}
    nested = {"deep_supervision": True} if make is BasicUNetPlusPlus else {}
    network = make(2, 1, 1, (*FEATURES, FEATURES[0]), **options, **nested)
    tops = {"upcat_1": 1} if make is BasicUNet else {f"upcat_0_{j}": j for j in (1, 2, 3, 4)}
    if halved:
        for name, num_skips in tops.items():
            block = UpCat(2, 64, 32 * num_skips, 32, ACTIVATION, layer_norm, True, 0.0, "deconv")
            setattr(network, name, block)
    if make is BasicUNet:
        return Subject(network, network, lambda images: [network(images)])
    return Subject(network, lambda images: network(images)[-1], network)


def smp() -> tuple[Subject | None, str]:
    """segmentation-models-pytorch's UNet++ over a ResNet-18, or why there is none."""
    try:
        import segmentation_models_pytorch
    except (ImportError, RuntimeError) as error:
        return None, f"{type(error).__name__}: {error}"
    network = segmentation_models_pytorch.UnetPlusPlus("resnet18", encoder_weights=None, in_channels=1, classes=1)
    return Subject(network, network, lambda images: [network(images)]), ""


def subjects() -> dict[str, Subject]:
    found = {"U-Net": ours("unet"), "wide U-Net": ours("wide_unet", features=(35, 70, 140, 280, 560))}
    found |= {f"UNet++ L{depth}": subject for depth, subject in pruned("none").items()}
    found |= {"U-Net, instance norm": ours("unet", norm="instance")}
    found |= {"UNet++ L4, instance norm": pruned("instance")[4]}
    for make in (BasicUNet, BasicUNetPlusPlus):
        for norm in ("none", "instance"):
            found[_name(make, norm, halved=True)] = monai(make, norm, halved=True)
        found[_name(make, "none", halved=False)] = monai(make, "none", halved=False)
    return found


def _name(make: type[nn.Module], norm: str, *, halved: bool) -> str:
    return f"MONAI {make.__name__}{', halved' if halved else ''}{', instance norm' if norm != 'none' else ''}"


def pairs() -> list[tuple[str, str]]:
    """Ours and what it is compared with."""
    plain, nested = BasicUNet, BasicUNetPlusPlus
    return [
        ("U-Net", _name(plain, "none", halved=True)),
        ("U-Net", _name(plain, "none", halved=False)),
        ("U-Net, instance norm", _name(plain, "instance", halved=True)),
        ("UNet++ L4", _name(nested, "none", halved=True)),
        ("UNet++ L4", _name(nested, "none", halved=False)),
        ("UNet++ L4, instance norm", _name(nested, "instance", halved=True)),
        *((f"UNet++ L{depth}", "UNet++ L4") for depth in (3, 2, 1)),
        *((f"UNet++ L{depth}", "U-Net") for depth in (4, 3, 2, 1)),
        ("wide U-Net", "U-Net"),
    ]


def check_equal(found: dict[str, Subject]) -> None:
    """Equal architecture is equal in parameters and in arithmetic."""
    for one, other in pairs():
        if "halved" in other:
            a, b = found[one], found[other]
            assert num_parameters(a.network) == num_parameters(b.network), (one, other)
            assert gflop(a) == gflop(b), (one, other)


def gflop(subject: Subject) -> float:
    """Of one image, every head answering."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        subject.heads(torch.rand(1, 1, SIZE, SIZE))
    return counter.get_total_flops() / 1e9


def peak_mib(subject: Subject, mode: str) -> float:
    with mp.get_context("fork").Pool(1, initializer=_hand_over, initargs=(subject,)) as pool:
        return pool.apply(_grown_mib, (mode,))


_HANDED: list[Subject] = []


def _hand_over(subject: Subject) -> None:
    _HANDED.append(subject)


def _grown_mib(mode: str) -> float:
    before = psutil.Process().memory_info().rss
    _HANDED[0].run(mode, torch.rand(BATCH, 1, SIZE, SIZE))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before / 2**20


def rates(found: dict[str, Subject], mode: str) -> dict[str, float]:
    """Images a second of CPU; every turn all networks, in an order that turns too."""
    images = torch.rand(BATCH, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    names = list(found)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        found[name].run(mode, images)
    for turn in range(TURNS):
        for name in (*names[turn:], *names[:turn]):
            begin = time.process_time()
            found[name].run(mode, images)
            measured[name].append(BATCH / (time.process_time() - begin))
    return {name: statistics.median(values) for name, values in measured.items()}


def main() -> None:
    torch.set_num_threads(1)
    found = subjects()
    check_equal(found)
    other, why_not = smp()
    if other is not None:
        found["smp UnetPlusPlus, resnet18"] = other
    # Memory first: a child begins with what its parent's heap holds then.
    memory = {mode: {name: peak_mib(subject, mode) for name, subject in found.items()} for mode in MODES}
    speed = {mode: rates(found, mode) for mode in MODES}
    size = {
        "parameters": {name: float(num_parameters(subject.network)) for name, subject in found.items()},
        "GFLOP": {name: gflop(subject) for name, subject in found.items()},
    }
    _print(found, speed, memory, size)
    write("network", _rows(speed, memory, size, why_not))


def _print(found: dict[str, Subject], speed: Any, memory: Any, size: Any) -> None:
    print(f"\n{'':44}  parameters    GFLOP   forward, images/s, MiB   forward and backward")
    for name in found:
        figures = "   ".join(f"{speed[mode][name]:9.2f} {memory[mode][name]:8.1f}" for mode in MODES)
        print(f"{name:44} {size['parameters'][name]:11,.0f} {size['GFLOP'][name]:8.2f}   {figures}")
    print("\nratios of speed: forward, forward and backward")
    for one, peer in pairs():
        print(f"{one:26} / {peer:44} " + "   ".join(f"{speed[mode][one] / speed[mode][peer]:6.2f}" for mode in MODES))


def _rows(speed: Any, memory: Any, size: Any, why_not: str) -> list[dict[str, Any]]:
    made = f"batch of {BATCH}, {SIZE}x{SIZE}, torch {version('torch')}, MONAI {version('monai')}"
    everyone = [*pairs(), *((("UNet++ L4", "smp UnetPlusPlus, resnet18"),) if not why_not else ())]
    rows = []
    for one, peer in everyone:
        for mode in MODES:
            what = f"{one}, {mode}, {made}"
            rows.append(row(what, peer, speed[mode][one], speed[mode][peer], unit="images/s of CPU"))
            rows.append(_less(f"{one}, peak memory of {mode}, {made}", peer, memory[mode], one, "MiB"))
        rows.append(_less(f"{one}, parameters", peer, size["parameters"], one, "parameters"))
        rows.append(_less(f"{one}, forward of one image, every head", peer, size["GFLOP"], one, "GFLOP"))
    if why_not:
        null = {"what": f"UNet++ L4, {made}", "peer": "smp UnetPlusPlus, resnet18", "ours": None, "theirs": None}
        rows.append({**row("", "", 1, 1, unit="images/s of CPU"), **null, "ratio": None, "reason": why_not})
    return rows


def _less(what: str, peer: str, figures: dict[str, float], one: str, unit: str) -> dict[str, Any]:
    """A row of something of which less is better."""
    made = row(what, peer, figures[one], figures[peer], unit=unit)
    return {**made, "ratio": round(figures[peer] / figures[one], 3)}


if __name__ == "__main__":
    main()
