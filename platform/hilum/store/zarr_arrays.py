"""One Zarr array opened for reading, by the fastest reader that speaks its store's protocol.

tensorstore reads folders and S3; everything else fsspec knows goes through zarr-python,
more slowly, to the same bytes. Both refuse damaged chunks and missing ones.
"""

import itertools
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from hilum.core.errors import CorruptionError
from hilum.store.layout import filesystem, is_local

Box = tuple[slice, ...]
CACHE_BYTES = 64 << 20
_DAMAGE = ("DATA_LOSS", "NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "OUT_OF_RANGE")


class ArrayReader(Protocol):
    """An open array."""

    def read(self, box: Box) -> npt.NDArray[Any]: ...

    def read_many(self, boxes: Sequence[Box]) -> list[npt.NDArray[Any]]: ...


def open_array(url: str) -> ArrayReader:
    """Open the array at ``url``. CorruptionError when there is none or its metadata cannot be read."""
    kvstore = _kvstore(url)
    return _Fast(url, kvstore) if kvstore is not None else _Portable(url)


def _kvstore(url: str) -> dict[str, Any] | None:
    """How tensorstore finds ``url``, or None when it has no driver for it."""
    fs, path = filesystem(url)
    if is_local(url):
        return {"driver": "file", "path": f"{path}/"}
    if "s3" not in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        return None
    bucket, _, key = path.partition("/")
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket, "path": f"{key}/"}
    endpoint = getattr(fs, "endpoint_url", None) or fs.client_kwargs.get("endpoint_url") or _s3_endpoint()
    if endpoint:
        spec |= {"endpoint": endpoint, "aws_region": os.environ.get("AWS_REGION", "us-east-1")}
    return spec


def _s3_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


@cache
def _context() -> Any:
    return ts.Context({"cache_pool": {"total_bytes_limit": CACHE_BYTES}})


class _Fast:
    """tensorstore. Its cache holds shard indexes and recent chunks; volumes never change, so it is not rechecked."""

    def __init__(self, url: str, kvstore: dict[str, Any]):
        self._url = url
        spec = {
            "driver": "zarr3",
            "kvstore": kvstore,
            "fill_missing_data_reads": False,
            "recheck_cached_data": "open",
        }
        try:
            self._array = ts.open(spec, open=True, read=True, context=_context()).result()
        except ValueError as error:
            raise _damaged(url, error) from None

    def read(self, box: Box) -> npt.NDArray[Any]:
        return self.read_many([box])[0]

    def read_many(self, boxes: Sequence[Box]) -> list[npt.NDArray[Any]]:
        try:
            pending = [self._array[box].read() for box in boxes]
            return [future.result() for future in pending]
        except ValueError as error:
            raise _damaged(self._url, error) from None


class _Portable:
    """zarr-python over fsspec."""

    def __init__(self, url: str):
        import zarr

        self._url = url
        try:
            self._array = zarr.open_array(url, mode="r")
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(url, error) from None
        self._require_every_shard()

    def _require_every_shard(self) -> None:
        # zarr-python reads a missing shard as zeros. A hole inside a shard would break its index's crc32c.
        fs, path = filesystem(self._url)
        there = {
            str(found).removeprefix(f"{path.lstrip('/')}/c/").removeprefix(f"{path}/c/") for found in fs.find(path)
        }
        shards = self._array.shards or self._array.chunks
        counts = [range(-(-n // s)) for n, s in zip(self._array.shape, shards, strict=True)]
        for place in itertools.product(*counts):
            key = "/".join(map(str, place))
            if key not in there:
                raise CorruptionError(f"Shard {key} of {self._url} is missing: restore it, or ingest the volume again.")

    def read(self, box: Box) -> npt.NDArray[Any]:
        try:
            return np.asarray(self._array[box])
        except (ValueError, RuntimeError, OSError) as error:
            raise _damaged(self._url, error) from None

    def read_many(self, boxes: Sequence[Box]) -> list[npt.NDArray[Any]]:
        return [self.read(box) for box in boxes]


def _damaged(url: str, error: Exception) -> Exception:
    """CorruptionError for damage; anything else (no network, no permission) is left as it came."""
    said = str(error)
    if isinstance(error, ValueError) and said.split(":", 1)[0].isupper() and not said.startswith(_DAMAGE):
        return error
    return CorruptionError(f"{url} cannot be read as it was written: {said[:300]}")
