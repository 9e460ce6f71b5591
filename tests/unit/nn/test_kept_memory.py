"""Freed blocks are kept where the allocator is GNU's, unless the environment says how it is to be."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, threading
import numpy
from hilum.nn.kept_memory import keep_freed_memory

def take_and_free():
    for _ in range(20):
        numpy.ones(20 << 20, numpy.uint8)

def in_a_thread():
    one = threading.Thread(target=take_and_free)
    one.start()
    one.join()

kept = keep_freed_memory()
in_a_thread()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
in_a_thread()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def kept_and_faults(**environment):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's allocator")
def test_a_block_that_was_freed_is_there_again_without_page_faults():
    kept, faults = kept_and_faults()
    assert kept == "True"
    assert faults < 1000


def test_what_the_environment_says_stands():
    kept, faults = kept_and_faults(MALLOC_MMAP_THRESHOLD_="65536")
    assert kept == "False"
    assert faults > 10_000
