"""Ray's token: found where Ray looks for it, and made where a Ray is started that has none.

Without one, whoever reaches a Ray's ports runs what they like there as the user who started it
(CVE-2023-48022).
"""

import os
import secrets
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_DEFAULT_PATH = "~/.ray/auth_token"
_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_ASK_SECONDS = 10


def is_switched_off() -> bool:
    """True where somebody said so, in so many words."""
    return os.environ.get(MODE, "").lower() == "disabled"


def find_token() -> str:
    """The token of the environment or of the file that it names; empty where there is none."""
    token = os.environ.get(TOKEN, "").strip()
    file = _file()
    if not token and file.is_file():
        token = file.read_text(encoding="utf-8").strip()
    return token


def guard_a_new_ray() -> None:
    """Have the Ray that this process is about to start ask for a token, unless that is switched off.

    A new token is kept in ~/.ray/auth_token, readable by its owner alone; where no file can be
    written, this process and those it starts know it, and nobody else.
    """
    if is_switched_off():
        return
    os.environ[MODE] = "token"
    if find_token():
        return
    token = secrets.token_hex(32)
    try:
        _write_private(_file(), token)
    except OSError:
        os.environ[TOKEN] = token


def show_our_token() -> None:
    """Have what connects to somebody's Ray say our token, where we have one and nobody said otherwise."""
    if MODE not in os.environ and find_token():
        os.environ[MODE] = "token"


def refuses_us(address: str) -> bool:
    """True when what listens at HOST:PORT is a Ray that does not take our token, or our having none.

    Asked beforehand, because `ray.init` says of such a Ray, after a while, that nobody is there.
    """
    import grpc

    token = "" if is_switched_off() else find_token()
    said = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_QUESTION)(b"", timeout=_ASK_SECONDS, metadata=said)
        except grpc.RpcError as error:
            return error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    return False


def _file() -> Path:
    return Path(os.environ.get(TOKEN_PATH) or _DEFAULT_PATH).expanduser()


def _write_private(path: Path, token: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token)
