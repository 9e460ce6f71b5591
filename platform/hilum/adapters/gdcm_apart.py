"""GDCM in a process of its own, for the compressions that only it can decode.

GDCM ends the whole process when its input is damaged in certain ways. Here the process is
only a decoder: it gets compressed frames and their size, never a header, and is started
again after a fall. It ends with the process that started it, because its input closes.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import IO

from hilum.core.errors import DataError

SECONDS_A_FRAME = 60.0
_LENGTH_BYTES = 8
_PIPE_BYTES = 1 << 20
"""A slice in one piece: with the usual 64 KiB both processes wake up for every part of it."""

_LOCK = threading.Lock()
_running: dict[int, subprocess.Popen[bytes]] = {}
"""By the process that started it: a fork must not talk to its parent's decoder."""


def decode_apart(frame: bytes, what: dict[str, int | str]) -> bytes:
    """One compressed frame as plain bytes. ``what`` says rows, columns, samples, bits and how it is compressed."""
    with _LOCK:
        decoder = _decoder()
        overdue = threading.Timer(SECONDS_A_FRAME, decoder.kill)
        overdue.start()
        try:
            decoded = _ask(decoder, frame, what)
        except (OSError, EOFError):
            _stop(decoder)
            raise DataError("The compressed pixels are damaged: their decoder fell over them.") from None
        finally:
            overdue.cancel()
    if not decoded:
        raise DataError("The compressed pixels are damaged: they cannot be decoded.")
    return decoded


def _decoder() -> subprocess.Popen[bytes]:
    """The running decoder, or a new one."""
    decoder = _running.get(os.getpid())
    if decoder is not None and decoder.poll() is None:
        return decoder
    # Its standard error may quote the file, and is closed.
    decoder = subprocess.Popen(  # noqa: S603 (our own module)
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pipesize=_PIPE_BYTES,
    )
    _running[os.getpid()] = decoder
    return decoder


def _ask(decoder: subprocess.Popen[bytes], frame: bytes, what: dict[str, int | str]) -> bytes:
    assert decoder.stdin is not None
    assert decoder.stdout is not None
    decoder.stdin.write(json.dumps({**what, "num_bytes": len(frame)}).encode() + b"\n")
    decoder.stdin.write(frame)
    decoder.stdin.flush()
    return _exactly(decoder.stdout, int.from_bytes(_exactly(decoder.stdout, _LENGTH_BYTES), "little"))


def _exactly(stream: IO[bytes], num_bytes: int) -> bytes:
    found = stream.read(num_bytes)
    if len(found) != num_bytes:
        raise EOFError
    return found


def _stop(decoder: subprocess.Popen[bytes]) -> None:
    decoder.kill()
    decoder.wait()
    for stream in (decoder.stdin, decoder.stdout):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()


def _gdcm_decode(frame: bytes, what: dict[str, int | str]) -> bytes:
    """What gdcm makes of one frame, or nothing."""
    import gdcm  # type: ignore[import-untyped]

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((what["columns"], what["rows"], 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(what["photometric"])
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(what["syntax"])
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = what["allocated"], what["stored"], int(what["stored"]) - 1
    image.SetPixelFormat(gdcm.PixelFormat(what["samples"], *bits, what["signed"]))
    decoded = image.GetBuffer()
    return b"" if decoded is None else bytes(decoded.encode("utf-8", "surrogateescape"))


def _serve() -> None:
    import resource

    # A core dump would hold a patient's pixels.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while line := sys.stdin.buffer.readline():
        what = json.loads(line)
        decoded = _gdcm_decode(_exactly(sys.stdin.buffer, what["num_bytes"]), what)
        sys.stdout.buffer.write(len(decoded).to_bytes(_LENGTH_BYTES, "little") + decoded)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
