"""Where the Label Studio that `hilum label up` runs for this user keeps its things, and how to get in."""

import json
import os
from pathlib import Path
from typing import Any

from hilum.core.errors import CorruptionError

HOME = "HILUM_LABEL_STUDIO_HOME"
ACCESS_FILE = "access.json"
ADDRESS = "url"


def home() -> Path:
    """The folder of the local Label Studio: ``HILUM_LABEL_STUDIO_HOME``, or one under the user's data."""
    given = os.environ.get(HOME)
    if given:
        return Path(given).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "hilum" / "label-studio"


def local_access(folder: Path | None = None) -> dict[str, Any] | None:
    """``url``, ``token``, ``user`` and ``pid`` as `hilum label up` left them for this user alone; None without."""
    file = (folder or home()) / ACCESS_FILE
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise CorruptionError(f"{file} cannot be read; stop it with `hilum label down` and start again.") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in (ADDRESS, "token", "user")):
        raise CorruptionError(f"{file} is not as `hilum label up` wrote it; start it again.")
    return found
