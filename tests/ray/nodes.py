"""Several Ray nodes on this machine, each with an address of its own, to be lost one by one.

As root every node has a network namespace, with one interface and one address, and is joined to the others by a
bridge; a node is lost by killing all that runs on it, or by pulling its cable. Without leave to make namespaces the
nodes are processes that share this machine's address, and can only be killed.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.ray.own_ray import OWN

MARK = "HILUM_TEST_NODE"
QUICK = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""A node is missed after some three seconds; Ray's own settings take five times as long."""

_PORT = 6379
_OBJECT_STORE_BYTES = 80_000_000
_START_ATTEMPTS = 3
_KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=2).close()
except ConnectionRefusedError:
    pass
"""


def may_have_namespaces():
    return os.geteuid() == 0 and shutil.which("ip") is not None


@dataclass
class Node:
    """One machine. ``number`` 1 is the head."""

    number: int
    mark: str
    namespace: str
    address: str
    port: str = ""
    ray: subprocess.Popen | None = field(default=None, repr=False)

    def command(self, *words):
        return ["ip", "netns", "exec", self.namespace, *words] if self.namespace else list(words)

    def pids(self):
        """All that runs on this node: whatever was started there carries its mark."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self.mark}\0".encode() in (place / "environ").read_bytes():
                    found.append(int(place.name))
        return found

    def runs(self, name):
        """Whether a process on this node is called ``name``, as Ray calls its workers by what they are at."""
        for pid in self.pids():
            with suppress(OSError):
                if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return True
        return False

    def kill(self):
        """SIGKILL everything; returns how many processes there were."""
        num = 0
        while pids := [pid for pid in self.pids() if _is_alive(pid)]:
            num = max(num, len(pids))
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.ray is not None:
                with suppress(subprocess.TimeoutExpired):
                    self.ray.wait(0.1)
            time.sleep(0.05)
        return num


class Nodes:
    """A head without CPUs and some workers with one each. Use it in a ``with``: nothing of it is left afterwards."""

    def __init__(self, num_workers, *, apart=None):
        self._token = secrets.token_hex(3)
        self.apart = may_have_namespaces() if apart is None else apart
        self._num_workers = num_workers
        self._num_made = 0
        self._num_ports = 0
        self.head = None
        self.workers = []

    def __enter__(self):
        # Sockets lie in it, and their paths must be shorter than 108 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        try:
            if self.apart:
                _ip(f"netns add {self._switch}")
                _ip(f"-n {self._switch} link add br0 type bridge")
                _ip(f"-n {self._switch} link set br0 up")
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in [self.head, *self.workers]:
            if node is not None:
                self._take_away(node)
        if self.apart:
            listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
            for name in (line.split()[0] for line in listed.splitlines()):
                if name.startswith(f"hl-{self._token}-"):
                    _ip(f"netns delete {name}")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self):
        return f"{self.head.address}:{_PORT if self.apart else self._port}"

    def start(self):
        """A head, and as many workers as there should be."""
        self._port = _PORT if self.apart else _free_port()
        self.head = self._made(1)
        options = f"--head --port={self._port} --num-cpus=0 --include-dashboard=false --temp-dir={self.folder}"
        self._start(self.head, options)
        for _ in range(self._num_workers):
            self.add_worker()

    def add_worker(self):
        self._num_made += 1
        node = self._made(1 + self._num_made)
        self.workers.append(node)
        self._start(node, f"--address={self.address} --num-cpus=1")
        return node

    def lose(self, node):
        """Kill all that runs on a worker; returns how many processes that were."""
        self.workers.remove(node)
        return self._take_away(node)

    def cut(self, node):
        """Pull a worker's cable. What runs on it goes on, and hears from nobody."""
        assert self.apart, "only nodes with addresses of their own have cables"
        _ip(f"-n {node.namespace} link set eth0 down")

    def answers(self, node):
        """Whether the head hears anything from a node; a port at which nobody listens is an answer, too."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return self.on_head(sys.executable, "-S", "-c", _KNOCK, node.address, **quiet).wait() == 0

    def mend(self):
        """A worker that ended by itself, as Ray does where it is late, is replaced: Kubernetes would."""
        for node in [node for node in self.workers if node.ray.poll() is not None]:
            self.lose(node)
            self.add_worker()

    def told(self):
        """What runs on each node, and what its Ray said last."""
        return "\n".join(self._told(node) for node in [self.head, *self.workers])

    def _told(self, node):
        names = sorted(_name(pid) for pid in node.pids())
        return f"node {node.number} ({node.address}): {names}; {self._log(node).read_text()[-1500:]}"

    def lose_all(self):
        """The head is gone, with all that runs on it; and without it so are the others."""
        num = self._take_away(self.head)
        for node in list(self.workers):
            self.lose(node)
        self.head = None
        return num

    def on_head(self, *words, **how):
        """A process on the head, of which it is a part: it goes when the head is lost."""
        return subprocess.Popen(self.head.command(*words), env=self._environment(self.head), **how)

    def node_at(self, address_or_mark):
        return next(n for n in self.workers if address_or_mark in (n.address, n.mark))

    @property
    def _switch(self):
        return f"hl-{self._token}-sw"

    def _made(self, number):
        mark = f"{self._token}-{number}"
        if not self.apart:
            return Node(number, mark, "", "127.0.0.1")
        self._num_ports += 1
        node = Node(number, mark, f"hl-{mark}", f"10.77.0.{number}", f"p{self._num_ports}")
        _ip(f"netns add {node.namespace}")
        _ip(f"-n {node.namespace} link set lo up")
        _ip(f"link add eth0 netns {node.namespace} type veth peer name {node.port} netns {self._switch}")
        _ip(f"-n {self._switch} link set {node.port} master br0 up")
        _ip(f"-n {node.namespace} addr add {node.address}/24 dev eth0")
        _ip(f"-n {node.namespace} link set eth0 up")
        # It leads nowhere; by it programs find out which address is theirs.
        _ip(f"-n {node.namespace} route add default dev eth0")
        return node

    def _start(self, node, options):
        common = f"--block --disable-usage-stats --node-ip-address={node.address}"
        words = [sys.executable, "-m", "ray.scripts.scripts", "start", *options.split(), *common.split()]
        words.append(f"--object-store-memory={_OBJECT_STORE_BYTES}")
        log = self._log(node)
        for _ in range(_START_ATTEMPTS):
            with log.open("w") as file:
                node.ray = subprocess.Popen(
                    node.command(*words),
                    env=self._environment(node),
                    stdout=file,
                    stderr=file,
                    stdin=subprocess.DEVNULL,
                )
            # Ray waits thirty seconds for itself, which a busy machine may exceed.
            while node.ray.poll() is None and "Ray runtime started" not in log.read_text():
                time.sleep(0.05)
            if node.ray.poll() is None:
                return
            node.kill()
        raise AssertionError(f"node {node.number} did not come up:\n{log.read_text()}")

    def _log(self, node):
        return self.folder / f"node-{node.number}.log"

    def _environment(self, node):
        own = {**OWN, **QUICK, MARK: node.mark, "OMP_NUM_THREADS": "1"}
        if self.apart:
            own["GLOO_SOCKET_IFNAME"] = "eth0"  # a namespace has no name that resolves to its address
        return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own

    def _take_away(self, node):
        num = node.kill()
        if self.apart:
            # First, for a namespace stays, and answers to its address, until the kernel has closed its last connection.
            _ip(f"-n {self._switch} link delete {node.port}")
            _ip(f"netns delete {node.namespace}")
        return num


def _is_alive(pid):
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def _name(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
    return ""


def _ip(words):
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True)


def _free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
