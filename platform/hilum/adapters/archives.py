"""Zip archives, read member by member in memory; nothing is ever extracted to a disk.

An archive's directory is a stranger's word. A member is refused, and the others go on, when its
name would leave the archive, when it is a link, encrypted or another archive, when two members
share its name or its bytes, or when it unpacks to more than it can honestly hold.
"""

import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

from isal import isal_zlib

from hilum.adapters.hostile import check_ratio, check_size, refusing
from hilum.core.errors import DataError

MAX_DIRECTORY_BYTES = 64 << 20

_END, _END_64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _END_64_BYTES, _LOCATOR_BYTES = 22, 56, 20
_LONGEST_END = _END_BYTES + 0xFFFF + _LOCATOR_BYTES + _END_64_BYTES
_LOCAL = struct.Struct("<4s5H3I2H")
_BLOCK = 1 << 20
_ENCRYPTED = 0x1
_NESTED = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".7z", ".rar")


@dataclass(frozen=True)
class Member:
    """One file in an archive. ``refusal`` says why it will not be read, or is empty."""

    name: str = field(repr=False)
    offset: int
    packed_bytes: int
    unpacked_bytes: int
    checksum: int
    deflated: bool
    refusal: str = ""


def members(archive: BinaryIO) -> dict[str, Member]:
    """Every file in the archive by its name, in the order of the directory; folders are left out."""
    with refusing("zip archive"):
        _check_directory(archive)
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    names = Counter(entry.filename for entry in entries)
    shared = _overlapping(entries)
    return {
        entry.filename: Member(
            entry.filename,
            entry.header_offset,
            entry.compress_size,
            entry.file_size,
            entry.CRC,
            entry.compress_type == zipfile.ZIP_DEFLATED,
            _refusal(entry, repeated=names[entry.filename] > 1, overlapping=entry.header_offset in shared),
        )
        for entry in entries
    }


def unpack(archive: BinaryIO, member: Member, *, max_bytes: int) -> bytes:
    """The member's bytes, their checksum compared; never more than its directory entry announces."""
    check_size((max(1, member.unpacked_bytes),), 1, max_bytes)
    whole = _inflated(archive, member, member.unpacked_bytes)
    if len(whole) != member.unpacked_bytes or isal_zlib.crc32(whole) != member.checksum:
        raise DataError("The archive is damaged here: the member's checksum or its size is wrong.")
    return bytes(whole)


def unpack_start(archive: BinaryIO, member: Member, num_bytes: int) -> bytes:
    """The first bytes of a member, without unpacking the rest."""
    return bytes(_inflated(archive, member, min(num_bytes, member.unpacked_bytes)))


def _inflated(archive: BinaryIO, member: Member, wanted: int) -> bytearray:
    if member.refusal:
        raise DataError(member.refusal)
    with refusing("zip archive"):
        left = _seek_to_data(archive, member)
        inflater = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS) if member.deflated else None
        whole, tail = bytearray(), b""
        while len(whole) < wanted:
            feed = tail or archive.read(min(_BLOCK, left))
            left -= 0 if tail else len(feed)
            if inflater is None:
                block = feed[: wanted - len(whole)]
            else:
                # Also without feed: it may have taken all of it and still owe a part of what that unpacks to.
                block = inflater.decompress(feed, min(_BLOCK, wanted - len(whole)))
                tail = inflater.unconsumed_tail
            if not feed and not block:
                break
            whole += block
        return whole


def _seek_to_data(archive: BinaryIO, member: Member) -> int:
    """Go to the member's first packed byte; returns how many there are."""
    archive.seek(member.offset)
    magic, *_, name_bytes, extra_bytes = _LOCAL.unpack(archive.read(_LOCAL.size))
    if magic != b"PK\x03\x04":
        raise DataError("The archive is damaged here: there is no member where its directory says.")
    archive.seek(name_bytes + extra_bytes, 1)
    return member.packed_bytes


def _refusal(entry: zipfile.ZipInfo, *, repeated: bool, overlapping: bool) -> str:
    name = entry.orig_filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":":
        return "Its name leads out of the archive; nothing outside is read or written."
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "It is a link inside an archive; put the file itself in."
    if entry.flag_bits & _ENCRYPTED:
        return "It is encrypted; unpack the archive and ingest the folder."
    if name.lower().endswith(_NESTED):
        return "It is an archive inside an archive; unpack the outer one and ingest the folder."
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "It is packed in a way that is not read; zip with 'deflate' or 'store'."
    if repeated:
        return "Two members of the archive have its name; which one is meant cannot be known."
    if overlapping:
        return "It shares its bytes with another member of the archive, as archives made to overflow a disk do."
    try:
        check_ratio(entry.compress_size, entry.file_size)
    except DataError as error:
        return str(error)
    return ""


def _overlapping(entries: Sequence[zipfile.ZipInfo]) -> set[int]:
    """Offsets of members that begin before another one has ended (Fifield, WOOT 2019)."""
    shared: set[int] = set()
    reach, holder = 0, -1
    for entry in sorted(entries, key=lambda e: (e.header_offset, e.compress_size)):
        if entry.header_offset < reach:
            shared |= {entry.header_offset, holder}
        end = entry.header_offset + _LOCAL.size + entry.compress_size
        if end > reach:
            reach, holder = end, entry.header_offset
    return shared


def _check_directory(archive: BinaryIO) -> None:
    """Refuse a directory of millions of members before it is parsed."""
    end = archive.seek(0, 2)
    archive.seek(max(0, end - _LONGEST_END))
    tail = archive.read(_LONGEST_END)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        raise DataError("The archive is cut short, or it is not a zip archive: its directory is missing.")
    (directory_bytes,) = struct.unpack_from("<I", tail, at + 12)
    at_64 = at - _LOCATOR_BYTES - _END_64_BYTES
    if at_64 >= 0 and tail.startswith(_END_64, at_64) and tail.startswith(_LOCATOR, at - _LOCATOR_BYTES):
        directory_bytes = struct.unpack_from("<Q", tail, at_64 + 40)[0]
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise DataError(
            f"The archive's directory is {directory_bytes:,} bytes; at most {MAX_DIRECTORY_BYTES:,} are read."
        )
