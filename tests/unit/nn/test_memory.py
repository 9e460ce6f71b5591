"""The memory a training step is said to need, against what a real one takes."""

import subprocess
import sys

import pytest

from hilum.core.recipes import Choice, FinetuneRecipe
from hilum.nn.memory import MEASURED_OVER_KEPT, memory_at_hand, step_bytes

MEASURE = """
import sys, torch
from pathlib import Path
from hilum.core.recipes import Choice
from hilum.nn.blocks import draw_dropout_from
from hilum.nn.heads import build_network
from hilum.nn.losses import default_loss, losses
from hilum.nn.memory import _kept_and_parameters

def bytes_of(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

def forward_and_backward(space):
    images, labels = torch.rand((1, 1, *space)), torch.randint(0, 3, (1,) if question == "classify" else (1, *space))
    heads = network.forward_heads(images)
    torch.stack([loss(head, labels) for head in heads]).mean().backward()

torch.set_num_threads(1)
question, kind, depth, *shape = sys.argv[1:]
shape = tuple(map(int, shape))
space = shape[1:] if shape[0] == 1 else shape
architecture, loss = Choice(kind=kind, depth=int(depth)), losses.bind(default_loss(question))
network = build_network(question, architecture, spatial_dims=len(space), in_channels=1, num_classes=3).train()
draw_dropout_from(network, torch.Generator())
forward_and_backward([16] * len(space))
Path("/proc/self/clear_refs").write_text("5")  # forget the highest memory so far
before = bytes_of("VmRSS")
forward_and_backward(space)
print(_kept_and_parameters(question, architecture.model_dump_json(), shape, 1, 3)[0], bytes_of("VmHWM") - before)
"""


def needed(kind="unet", shape=(32, 64, 64), question="segment", batch_size=2, depth=2):
    recipe = FinetuneRecipe(architecture=Choice(kind=kind, depth=depth), batch_size=batch_size, num_chunks=2)
    return step_bytes(question, recipe, shape, in_channels=1, num_classes=3)


@pytest.mark.parametrize(
    "given",
    [
        ("segment", "unet", 2, 1, 512, 512),
        ("segment", "unetpp", 3, 1, 512, 512),
        ("segment", "unet", 3, 48, 64, 64),
        ("segment", "unetpp", 3, 32, 64, 64),
        ("classify", "unet", 3, 1, 512, 512),
    ],
    ids=lambda given: "-".join(map(str, given)),
)
def test_a_real_step_takes_what_autograd_keeps_and_not_more_than_the_factor_says(given, monkeypatch):
    # Freed memory goes back to the system at once, so that the system can be asked.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    command = [sys.executable, "-c", MEASURE, *map(str, given)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    kept, peak = map(int, told)
    assert kept <= peak <= MEASURED_OVER_KEPT * kept


def test_twice_the_voxels_need_twice_the_memory_and_the_weights_once():
    one, two, four = (needed(shape=(size, 64, 64)) for size in (16, 32, 64))
    assert four - two == pytest.approx(2 * (two - one), rel=1e-6)


def test_a_batch_costs_what_one_of_its_chunks_costs():
    assert needed(batch_size=2) < needed(batch_size=4) < 2 * needed(batch_size=2)


def test_nested_skips_need_more_than_plain_ones():
    assert needed("unetpp") > needed("unet")


def test_a_classifier_has_no_way_up_to_pay_for():
    assert needed(question="classify") < needed(question="segment")


def test_nothing_is_computed_to_know_it():
    assert needed(shape=(512, 512, 512)) > 50 << 30


def test_the_memory_at_hand_is_some_of_this_machine_s():
    num_bytes, whose = memory_at_hand()
    assert num_bytes > 1 << 20
    assert whose.startswith("this ")
