"""Machine code says what the Python it was made from says, in every process and beside any number of threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hilum.select.clusters import nearest_centre
from hilum.select.cold_start import typicality
from hilum.select.compiled import compiled


def points(num=30, size=4, seed=0):
    return np.random.default_rng(seed).standard_normal((num, size)).astype(np.float32)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("num_neighbours", [0, 1, 5, 100])
def test_typicality_is_that_of_a_sorted_table_of_distances(num_neighbours, squared):
    found = typicality(points(), num_neighbours, squared)
    apart = np.linalg.norm(points()[:, None].astype(float) - points()[None].astype(float), axis=2)
    keep = min(num_neighbours, 29)
    nearest = np.sort(apart, axis=1)[:, 1 : keep + 1] ** (2 if squared else 1)
    np.testing.assert_allclose(found, 1 / (nearest.sum(axis=1) / max(keep, 1) + 1e-5), rtol=1e-5)


def test_a_kernel_called_from_many_threads_answers_each_as_if_alone():
    centres = points(5, seed=9)
    alone = [nearest_centre(points(seed=seed), centres) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda seed: nearest_centre(points(seed=seed), centres), range(8)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_numbers_that_are_not_finite_keep_their_meaning():
    @compiled
    def is_finite(values_N):
        return not (np.isnan(values_N).any() or np.isinf(values_N).any())

    assert is_finite(np.array([1.0, 2.0]))
    assert not is_finite(np.array([1.0, np.nan]))
    assert not is_finite(np.array([1.0, np.inf]))


def test_code_that_lies_in_no_folder_is_compiled_all_the_same():
    """Where nothing can be kept beside the source, every process compiles for itself."""
    code = (
        "from hilum.select.compiled import compiled\n"
        "exec(compile('def double(x):\\n    return 2 * x', '<nowhere>', 'exec'))\n"
        "print(compiled(double)(21))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "42"
