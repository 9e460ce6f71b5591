"""The outside world behind the core's ports: readers, annotators, executors.

A path or a header's value may be a name. Libraries that repeat them in their debug log are held
at 'info' here, before any reader is imported, in every process that reads.
"""

import logging

_THEIR_DEBUG_LOG_REPEATS_NAMES = (
    "PIL",
    "fsspec",
    "nibabel",
    "pydicom",
    "tifffile",
    "urllib3",
    "s3fs",
    "dicomweb_client",
)

for _logger in map(logging.getLogger, _THEIR_DEBUG_LOG_REPEATS_NAMES):
    _logger.setLevel(max(_logger.level, logging.INFO))
