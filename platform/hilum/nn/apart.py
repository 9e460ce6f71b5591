"""Networks in a process of its own, for batches of several images.

PyTorch gives Python's lock away at every operation and waits to have it back. Beside the threads that answer HTTP a
batch of small images takes twice as long as it takes alone; a process that does nothing else has its lock for itself.

It is started when several images first come together, and told of a network when one is first asked of. Until it has
that network, and whenever anything goes wrong with it, whoever asks does the work, so that nobody waits for it.
"""

import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.recipes import Choice
from hilum.nn.predictor import Precision, Predictor, predictor_from, weights_of

Floats = npt.NDArray[np.float32]
Seen = tuple[Floats, Floats | None]
"""Probabilities (M, N, C, …) and embeddings (N, D), as `Predictor` gives them."""

_log = logging.getLogger("hilum.services")
_PROGRAM = "import sys; from hilum.nn.apart import answer_from; answer_from(int(sys.argv[1]))"
_MOST_LOST = 3
_SLOWEST_SECONDS = 120.0


class _Network(NamedTuple):
    key: int
    card: Mapping[str, Any]
    tensors: Mapping[str, npt.NDArray[Any]]
    precision: Precision
    lies_last: bool
    others: frozenset[int]
    """Networks to be kept beside it; all others go."""


class _Windows(NamedTuple):
    key: int
    windows_NCZYX: Floats  # noqa: N815 (shape letters)
    members: Choice
    embeds: bool
    num_threads: int


class Apart:
    """The process, as who asks sees it: one thread."""

    def __init__(self, *, again_after_seconds: float = 30.0) -> None:
        """``again_after_seconds``: when another is started for one that was lost."""
        self._again_after_seconds = again_after_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None
        self._is_busy = False
        self._keys: WeakKeyDictionary[Predictor, int] = WeakKeyDictionary()
        self._num_networks, self._num_lost, self._not_before = 0, 0, 0.0

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def seen(
        self, predictor: Predictor, windows_NCZYX: Floats, members: Choice, *, embeds: bool, num_threads: int
    ) -> Seen | None:
        """What the network says of each window and, where asked for, where it puts each; None: see for yourself."""
        try:
            if not self._knows(predictor):
                return None
            said = self._answer(_Windows(self._keys[predictor], windows_NCZYX, members, embeds, num_threads))
        except (EOFError, OSError) as error:
            self._lose(error)
            return None
        self._num_lost = 0
        return said

    def close(self) -> None:
        """End the process."""
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._link = self._process = None

    def _knows(self, predictor: Predictor) -> bool:
        """Whether the network is there; if not, it is soon."""
        if self._link is None:
            self._start()
        elif self._is_busy:
            if self._link.poll():
                self._link.recv()
                self._is_busy = False
        elif predictor not in self._keys:
            self._send(predictor)
        return not self._is_busy and predictor in self._keys

    def _start(self) -> None:
        if self._num_lost >= _MOST_LOST or time.monotonic() < self._not_before:
            return
        mine, its = socket.socketpair()
        with its:
            words = [sys.executable, "-c", _PROGRAM, str(its.fileno())]
            self._process = subprocess.Popen(words, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603
        self._link, self._is_busy = Connection(mine.detach()), True

    def _send(self, predictor: Predictor) -> None:
        assert self._link is not None
        self._num_networks += 1
        kept = frozenset(self._keys.values())
        weights = weights_of(predictor.network)
        how = predictor.precision, predictor.lies_last
        self._link.send(_Network(self._num_networks, predictor.card, weights, *how, kept))
        self._keys[predictor], self._is_busy = self._num_networks, True

    def _answer(self, asked: _Windows) -> Seen | None:
        assert self._link is not None
        self._link.send(asked)
        if not self._link.poll(_SLOWEST_SECONDS):
            raise TimeoutError(f"no answer for {_SLOWEST_SECONDS:g} s")
        said: Seen | None = self._link.recv()
        return said

    def _lose(self, error: Exception) -> None:
        self._num_lost += 1
        self._not_before = time.monotonic() + self._again_after_seconds
        self._keys.clear()
        self.close()
        _log.warning(
            "The process for networks was lost (%s); batches are answered without it.", str(error) or "it ended"
        )


def answer_from(descriptor: int) -> None:
    """Answer whoever holds the other end of a socket, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for who asks
    networks: dict[int, Predictor] = {}
    with suppress(EOFError, OSError), Connection(descriptor) as link:
        link.send(None)
        while True:
            asked = link.recv()
            if isinstance(asked, _Network):
                _build(asked, networks)
                link.send(None)
            else:
                link.send(_see(asked, networks))


def _build(asked: _Network, networks: dict[int, Predictor]) -> None:
    for key in set(networks) - asked.others:
        del networks[key]
    try:
        how: dict[str, Any] = {"precision": asked.precision, "lies_last": asked.lies_last}
        networks[asked.key] = predictor_from(asked.tensors, asked.card, **how)
    except Exception:
        _log.exception("A network cannot be built a second time; it is run where it was built first.")


def _see(asked: _Windows, networks: dict[int, Predictor]) -> Seen | None:
    torch.set_num_threads(asked.num_threads)
    try:
        network = networks[asked.key]
        if asked.embeds:
            return network.predict_and_embed(asked.windows_NCZYX, members=asked.members)
        return network.predict(asked.windows_NCZYX, members=asked.members), None
    except Exception:
        return None  # who asked finds out by itself, and says so to its caller
