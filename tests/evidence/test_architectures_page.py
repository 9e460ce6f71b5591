import numpy as np
import pytest
from tests.evidence.architectures_page import SUPERVISED, UNET, Costs, Row, SetEvidence, page

from hilum.loop.curves import t_interval

NOISE = np.random.default_rng(0).normal(0, 0.001, 5)
UNET_DICE = 0.8 + np.random.default_rng(1).normal(0, 0.01, 5)


def row(name, dice, *, latency_ms=10.0, num_parameters=1000, peak_mib=3.5):
    return Row(name, tuple(map(float, dice)), Costs(num_parameters, 0.5, latency_ms, 1e3 / latency_ms, peak_mib))


def evidence(*arms, depths=None):
    depths = depths or [
        row("L1", UNET_DICE - 0.2 + NOISE, latency_ms=4, num_parameters=50),
        row("L2", UNET_DICE, latency_ms=8, num_parameters=200),
    ]
    return SetEvidence("Organs", "What was learnt from.", (row(UNET, UNET_DICE), *arms), tuple(depths))


def written(*arms, **others):
    return page([evidence(*arms, **others)], hardware="a machine", date="2026-01-02", command="make it")


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("shift", "word"), [(0.05, "is better than"), (-0.05, "is worse than")], ids=["better", "worse"]
)
def test_a_network_that_every_seed_sets_apart_is_told_apart(shift, word):
    text = written(row(SUPERVISED, UNET_DICE + shift + NOISE))
    assert f"{SUPERVISED} {word} {UNET} (" in text
    assert "5 of 5 seeds)" in text


def test_what_seeds_do_not_tell_apart_is_not_told_apart():
    text = written(row(SUPERVISED, UNET_DICE + 100 * (NOISE - NOISE.mean()) + 0.001))
    assert f"5 seeds cannot tell {SUPERVISED} from {UNET} (+0.0010, " in text
    assert f"{SUPERVISED} is" not in text


def test_two_close_calls_are_corrected_for_being_two():
    # One alone has p = 0.03: as one question it is told apart, as one of three it is not.
    close = UNET_DICE + NOISE - NOISE.mean() + 0.0011
    alone, among = (
        written(row("wide", close)),
        written(
            *(
                row(name, UNET_DICE + (NOISE - NOISE.mean()) * f + 0.0011)
                for name, f in (("wide", 1), ("b", 9), ("c", 9))
            )
        ),
    )
    p_alone, p_among = (float(cells(text, "wide")[5]) for text in (alone, among))
    assert p_among == pytest.approx(3 * p_alone, abs=0.002)


def test_the_table_holds_the_mean_the_interval_and_the_paired_difference():
    other = UNET_DICE + 0.03 + NOISE
    found, paired = t_interval(other), t_interval(other - UNET_DICE)
    told = cells(written(row("wide", other)), "wide")
    assert told[1:3] == [f"{found.mean:.4f}", f"{found.low:.4f} to {found.high:.4f}"]
    assert told[3:5] == [f"{paired.mean:+.4f}", f"{paired.low:+.4f} to {paired.high:+.4f}"]
    assert told[6:] == ["1,000", "0.50", "10.0", "100.0", "1.00", "3.5"]


def test_a_depth_is_compared_with_the_deepest():
    text = written(row("wide", UNET_DICE + NOISE))
    assert cells(text, "L1")[-3:-1] == ["250.0", "2.00"]
    assert "L1 is 2.00 × as fast as L2 with 4.0 × fewer parameters. L1 is worse than L2 (" in text


def test_the_order_of_networks_does_not_change_what_is_told():
    arms = [row("wide", UNET_DICE + NOISE), row(SUPERVISED, UNET_DICE - 0.1 + NOISE)]
    assert cells(written(*arms), "wide") == cells(written(*arms[::-1]), "wide")


def test_one_seed_has_no_interval_and_nothing_is_told_apart():
    one = SetEvidence(
        "Organs", "", (row(UNET, [0.5]), row("wide", [0.9])), (row("L1", [0.5]), row("L2", [0.9], peak_mib=None))
    )
    text = page([one], hardware="", date="", command="")
    assert "1 seeds cannot tell wide from U-Net" in text
    assert cells(text, "wide")[2] == "one seed has none"
    assert cells(text, "L2")[-1] == ""
