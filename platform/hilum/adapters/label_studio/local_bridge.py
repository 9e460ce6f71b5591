"""The bridge of one store beside the local Label Studio: images out, webhooks in, on loopback."""

import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hilum.adapters.label_studio.keys import BRIDGE_KEY, FILE, WEBHOOK_SECRET
from hilum.adapters.label_studio.local_processes import (
    LOOPBACK,
    check_port_is_free,
    is_running,
    start_detached,
    stop,
    wait_until_healthy,
)
from hilum.adapters.label_studio.local_server import Say, write_access
from hilum.core.errors import RequestError
from hilum.store.layout import Store, is_local

_MARK = "hilum bridge"
_START_SECONDS = 180.0


def up(folder: Path, known: dict[str, Any], store: Store, *, port: int, say: Say) -> dict[str, Any]:
    """Have the bridge serve ``store``; ``known`` with where it is and what it is told in secret."""
    url = str(Path(store.url).resolve()) if is_local(store.url) and "://" not in store.url else store.url
    if known.get("store") == url and is_running(known.get("bridge_pid"), _MARK):
        return known
    if find_spec("uvicorn") is None or find_spec("fastapi") is None:
        raise RequestError("The bridge needs its own packages. Install them: pip install 'hilum[services]'")
    stop(known.get("bridge_pid"), _MARK)
    check_port_is_free(port, "the bridge (--bridge-port)")
    say("Starting the bridge, which serves the images…")
    # Links in tasks are signed with the key: it stays when the bridge is started again.
    known = {"bridge_key": secrets.token_hex(), "webhook_secret": secrets.token_hex(), **known}
    known |= {"store": url, "bridge_url": f"http://{LOOPBACK}:{port}"}
    log = folder / "bridge.log"
    command = [sys.executable, "-m", *_MARK.split(), "--store", url, "--host", LOOPBACK, "--port", str(port)]
    pid = start_detached(command, _environment(known), log, Path.cwd())
    known["bridge_pid"] = pid
    write_access(folder, known)
    wait_until_healthy(f"{known['bridge_url']}/health", pid, log, seconds=_START_SECONDS)
    return known


def down(known: dict[str, Any]) -> bool:
    """Stop it; whether it ran."""
    return stop(known.get("bridge_pid"), _MARK)


def _environment(known: dict[str, Any]) -> dict[str, str]:
    """Ours, but with the keys of this bridge and no others."""
    secrets_elsewhere = {BRIDGE_KEY + FILE, WEBHOOK_SECRET + FILE}
    return {
        **{name: value for name, value in os.environ.items() if name not in secrets_elsewhere},
        "HILUM_BRIDGE_ORIGINS": known["url"],
        BRIDGE_KEY: known["bridge_key"],
        WEBHOOK_SECRET: known["webhook_secret"],
    }
