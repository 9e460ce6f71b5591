"""Memory that a network's layers free stays with the process, and the next layers need not ask the kernel for it.

The GNU allocator hands blocks of some megabytes back at once, and every page of the next one is a fault: a third of the
time of a 3D network on a processor. At most what is set here is kept. All threads share one heap, for those that it
makes for other threads are too small for such blocks.
"""

import ctypes
import os
from functools import cache

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
"""Their names in malloc.h, where they are numbers."""
_LARGEST_BLOCK, _MOST_KEPT = 32 << 20, 1 << 30
"""Bytes. The allocator allows no larger block."""
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(_LARGEST_BLOCK),
    "MALLOC_TRIM_THRESHOLD_": str(_MOST_KEPT),
}
"""The same for a process that is yet to begin."""
_SETTINGS = (*ENVIRONMENT, "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


@cache
def keep_freed_memory() -> bool:
    """Have it so in this process, once; whether it is. Not where the environment says how, nor without GNU's C.

    Threads that have a heap of their own by now keep it: call it early, or begin a process with `ENVIRONMENT`.
    """
    if any(name in os.environ for name in _SETTINGS):
        return all(os.environ.get(name) == value for name, value in ENVIRONMENT.items())
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 (AttributeError elsewhere)
    except (OSError, AttributeError):
        return False
    wanted = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGEST_BLOCK), (_TRIM_THRESHOLD, _MOST_KEPT))
    return all(library.mallopt(*one) for one in wanted)


def pass_on() -> None:
    """Have it so in every process that this one begins from now on, unless the environment says how."""
    if not any(name in os.environ for name in _SETTINGS):
        os.environ.update(ENVIRONMENT)
