"""The decoder that may fall takes nobody with it."""

import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from hilum.adapters import gdcm_apart
from hilum.adapters.gdcm_apart import decode_apart
from hilum.core.errors import DataError


@pytest.fixture(scope="module")
def lossless():
    dataset = pydicom.dcmread(get_testdata_file("JPEG-LL.dcm", download=False))
    what = {
        "rows": 1024,
        "columns": 256,
        "samples": 1,
        "allocated": 16,
        "stored": 16,
        "signed": 1,
        "photometric": "MONOCHROME2",
        "syntax": str(dataset.file_meta.TransferSyntaxUID),
    }
    return next(generate_frames(dataset.PixelData, number_of_frames=1)), what, dataset.pixel_array


def test_a_frame_is_what_gdcm_makes_of_it_here(lossless):
    frame, what, expected = lossless
    decoded = np.frombuffer(decode_apart(frame, what), np.int16).reshape(1024, 256)
    assert np.array_equal(decoded, expected)


def test_one_decoder_serves_frame_after_frame(lossless):
    frame, what, _ = lossless
    decode_apart(frame, what)
    before = {pid: decoder.pid for pid, decoder in gdcm_apart._running.items()}
    decode_apart(frame, what)
    assert {pid: decoder.pid for pid, decoder in gdcm_apart._running.items()} == before


def test_a_decoder_that_dies_is_a_refusal_and_the_next_frame_is_decoded(lossless):
    frame, what, expected = lossless
    decode_apart(frame, what)
    gdcm_apart._running[os.getpid()].kill()
    gdcm_apart._running[os.getpid()].wait()
    with pytest.raises(DataError, match="decoder fell"):
        decode_apart(frame, {**what, "rows": "not a number"})
    assert decode_apart(frame, what) == expected.tobytes()


def test_noise_is_refused(lossless):
    _, what, _ = lossless
    with pytest.raises(DataError, match="damaged"):
        decode_apart(np.random.default_rng(0).bytes(500), what)


def test_no_decoder_outlives_the_process_that_started_it(lossless, tmp_path):
    frame, what, _ = lossless
    (tmp_path / "frame").write_bytes(frame)
    program = (
        "import os, sys\nfrom hilum.adapters import gdcm_apart\n"
        f"gdcm_apart.decode_apart(open({str(tmp_path / 'frame')!r}, 'rb').read(), {what!r})\n"
        "print(gdcm_apart._running[os.getpid()].pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    decoder = int(done.stdout)
    for _ in range(200):
        if not psutil.pid_exists(decoder) or psutil.Process(decoder).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the decoder is still there")
