"""Making a store and opening one: a folder (or a bucket prefix) is a store when it holds ``hilum.json``."""

from importlib.metadata import version
from pathlib import Path

from hilum.core.errors import CorruptionError, NotFoundError, RequestError
from hilum.store.layout import FORMAT_VERSION, Store, exists, filesystem, is_local
from hilum.store.manifest import read_json, write_json

FOLDERS = ("volumes", "labels", "checkpoints", "runs", "campaigns")


def create_store(url: str) -> tuple[Store, bool]:
    """The store at ``url`` and whether it is new. Making a store that is there already changes nothing."""
    store = named_store(url)
    if exists(store.settings_file):
        return open_store(url), False
    if is_local(url):
        _make_folders(Path(filesystem(url)[1]))
    settings = {"format_version": FORMAT_VERSION, "hilum_version": version("hilum")}
    try:
        return store, write_json(store.settings_file, settings, only_if_absent=True)
    except FileNotFoundError as error:  # a folder was made above; a bucket is its owner's to make
        raise RequestError(f"Cannot make a store at {url}: {error}. Make the bucket first.") from None


def open_store(url: str) -> Store:
    """The store at ``url``; NotFoundError when nobody made one there, RequestError when a newer hilum did."""
    store = named_store(url)
    if not exists(store.settings_file):
        raise NotFoundError(f"There is no store at {url}.{_near(url)} Make one with `hilum init {url}`.")
    settings = read_json(store.settings_file)
    found = settings.get("format_version") if isinstance(settings, dict) else None
    if not isinstance(found, int):
        raise CorruptionError(f"{store.settings_file} does not say its format_version; it is damaged.")
    if found > FORMAT_VERSION:
        raise RequestError(
            f"The store at {url} has format {found}; this hilum reads up to {FORMAT_VERSION}. "
            f"Use hilum {settings.get('hilum_version', '')} or newer."
        )
    return store


def named_store(url: str) -> Store:
    """A local store is named from the root: workers that are sent its URL have another current folder."""
    return Store(filesystem(url)[1] if is_local(url) else url.rstrip("/"))


def _make_folders(root: Path) -> None:
    try:
        for name in FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"Cannot make a store at {root}: {error.strerror}. Name a folder you may write.") from None


def _near(url: str) -> str:
    """A store one folder below is what was meant more often than not."""
    if not is_local(url):
        return ""
    root = Path(filesystem(url)[1])
    below = sorted(path.parent.name for path in root.glob("*/hilum.json"))[:1]
    return f" Did you mean {Path(url) / below[0]}?" if below else ""
