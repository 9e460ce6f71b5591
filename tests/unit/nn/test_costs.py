"""What a network costs: operations as counted by hand, memory that follows the image, threads given back."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.nn.costs import MOST_ROUNDS, measure_costs, peak_memory_mib, round_robin
from hilum.nn.predictor import network_of_card


def card(size, **params):
    return {
        "question": "segment",
        "architecture": {"kind": "unetpp", "norm": "none", **params},
        "spatial_dims": 2,
        "in_channels": 1,
        "num_classes": 1,
        "patch_shape_zyx": [1, size, size],
    }


@pytest.mark.parametrize(("depth", "giga_macs"), [(1, 0.49), (2, 1.25), (4, 4.18)])
def test_operations_are_twice_the_multiplications_counted_for_the_paper_s_network(depth, giga_macs):
    paper = card(96, depth=depth, features=(32, 64, 128, 256, 512))
    (cost,) = measure_costs([(network_of_card(paper), paper)])
    assert cost.gflop / 2 == pytest.approx(giga_macs, abs=0.006)


def test_memory_follows_the_image_and_not_the_order_of_the_question():
    small, large = (card(size, depth=1, features=(16, 16)) for size in (64, 512))
    peaks = peak_memory_mib([large, small, large])
    assert min(peaks[0], peaks[2]) > 8 * max(peaks[1], 0.25)
    # 512 × 512 voxels of 16 float32 channels are 16 MiB; the last block reads two such maps and writes a third.
    assert peaks[0] > 48


def test_memory_that_cannot_be_measured_says_why():
    with pytest.raises(HilumError, match="in a process of its own: ."):
        peak_memory_mib([{**card(8), "architecture": {"kind": "unet2"}}])


def test_threads_are_as_before():
    before = torch.get_num_threads()
    one = card(16, depth=1, features=(4, 4))
    measure_costs([(network_of_card(one), one)])
    assert torch.get_num_threads() == before


def test_calls_take_turns_and_the_first_round_does_not_count():
    called, now = [], iter(range(10_000))
    times = round_robin([lambda: called.append("a"), lambda: called.append("b")], clock=lambda: float(next(now)))
    assert called == ["a", "b"] * (MOST_ROUNDS + 1)
    assert times == [1.0, 1.0]
