"""Bad files of every kind, each with a part of the reason why it is refused."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

AFFINE = np.diag([2.0, 2, 3, 1])


def scan_XYZ(seed=0, dtype=np.int16):
    return np.random.default_rng(seed).integers(0, 500, (12, 11, 10)).astype(dtype)


def nifti(data, affine=AFFINE, **fields):
    payload = nib.Nifti1Image(data, affine).to_bytes()
    head = np.frombuffer(payload[:348], nib.Nifti1Header.template_dtype).copy()
    for name, value in fields.items():
        head[name] = value
    return head.tobytes() + payload[348:]


def gzip_bomb(gibibytes=3):
    """A header that honestly announces gibibytes of zeros, in a few megabytes."""
    head = nifti(np.zeros((2, 2, 2), np.uint8), dim=[3, 1024, 1024, 1024 * gibibytes, 1, 1, 1, 1])[:352]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(64 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + start + block * (16 * gibibytes) + packer.flush() + bytes(8)


def png(pixels_YX):
    sink = io.BytesIO()
    Image.fromarray(pixels_YX).save(sink, "PNG")
    return sink.getvalue()


def flipped(payload, place):
    changed = bytearray(payload)
    changed[place] ^= 0x10
    return bytes(changed)


def npy(array, *, allow_pickle=False):
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=allow_pickle)
    return sink.getvalue()


def archive(*members):
    """A zip of (name or ZipInfo, payload) pairs."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, payload in members:
            opened.writestr(name, payload)
    return sink.getvalue()


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def tar():
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as opened:
        opened.add(__file__, arcname="../../evil.py")
    return sink.getvalue()


def circle():
    """A TIFF whose second page is its first again."""
    sink = io.BytesIO()
    tifffile.imwrite(sink, PIXELS, photometric="minisblack")
    payload = bytearray(sink.getvalue())
    (page,) = struct.unpack_from("<I", payload, 4)
    (num_tags,) = struct.unpack_from("<H", payload, page)
    struct.pack_into("<I", payload, page + 2 + 12 * num_tags, page)
    return bytes(payload)


def claiming(payload, unpacked_bytes):
    """An archive of one member whose directory announces another size."""
    changed = bytearray(payload)
    struct.pack_into("<I", changed, payload.rindex(b"PK\x01\x02") + 24, unpacked_bytes)
    return bytes(changed)


GOOD = nifti(scan_XYZ())
PACKED = gzip.compress(GOOD, mtime=0)
PIXELS = np.random.default_rng(9).integers(0, 255, (20, 30)).astype(np.uint8)
NAN = scan_XYZ(dtype=np.float32)
NAN[3, 2, 1] = np.nan
INF = scan_XYZ(1, np.float32)
INF[0, 0, 0] = -np.inf
OUTSIDE = ("../outside.nii", "/tmp/hilum-outside.nii", "a/../../outside.nii", "..\\outside.nii", "C:/outside.nii")

BAD_FILES = {
    # D1 and D2: cut short, damaged
    "d1-payload.nii.gz": (gzip.compress(GOOD[:-40]), "cut short"),
    "d1-stream.nii.gz": (PACKED[: len(PACKED) // 2], "cut short"),
    "d1-trailer.nii.gz": (PACKED[:-3], "cut short"),
    "d1-plain.nii": (GOOD[:-1], "cut short"),
    "d2-checksum.nii.gz": (flipped(PACKED, -6), "damaged"),
    "d2-length.nii.gz": (flipped(PACKED, -2), "damaged"),
    "d2-middle.nii.gz": (flipped(PACKED, len(PACKED) // 2), "damaged"),
    "d2-chunk.png": (flipped(png(PIXELS), 60), "PNG"),
    "d2-checksum.png": (flipped(png(PIXELS), -15), "checksum"),
    # D3: headers that lie
    "d3-huge.nii": (nifti(scan_XYZ(), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "GiB"),
    "d3-huge.nii.gz": (gzip.compress(nifti(scan_XYZ(), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])), "GiB"),
    "d3-negative.nii": (nifti(scan_XYZ(), dim=[3, -12, 11, 10, 1, 1, 1, 1]), "at least one voxel"),
    "d3-zero.nii": (nifti(scan_XYZ(), dim=[3, 12, 0, 10, 1, 1, 1, 1]), "at least one voxel"),
    "d3-no-axes.nii": (nifti(scan_XYZ(), dim=[0, 12, 11, 10, 1, 1, 1, 1]), "axes"),
    "d3-far.nii": (nifti(scan_XYZ(), vox_offset=1e12), "begin at byte"),
    "d3-nan.nii": (nifti(scan_XYZ(), vox_offset=np.nan), "begin at byte"),
    "d3-type.nii": (nifti(scan_XYZ(), datatype=31), "data type 31"),
    "d3-huge.nrrd": (b"NRRD0004\ntype: short\ndimension: 3\nsizes: 90000 90000 90000\nendian: little\n\n", "GiB"),
    "d3-huge.mha": (
        b"NDims = 3\nDimSize = 90000 90000 90000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n",
        "GiB",
    ),
    "d3-huge.npy": (npy(np.zeros((2, 2)))[:60].replace(b"(2, 2), }", b"(9999999,") + bytes(80), ".npy"),
    # D4: bombs
    "d4-bomb.nii.gz": (gzip_bomb(), "more than 200 times"),
    "d4-hidden.nii.gz": (gzip.compress(GOOD + bytes(32 << 20)), "more than the"),
    "d4-bomb.zip": (archive(("big.nii", bytes(300 << 20))), "more than 200 times"),
    "d4-claim.zip": (claiming(archive(("big.nii", GOOD)), 1 << 31), "more than 200 times"),
    # D5: voxels that are no numbers
    "d5-nan.nii": (nifti(NAN), "finite"),
    "d5-inf.nii.gz": (gzip.compress(nifti(INF)), "finite"),
    "d5-nan.npy": (npy(np.full((4, 4), np.nan)), "finite"),
    # D6: no place in space
    "d6-singular.nii": (nifti(scan_XYZ(2), srow_x=[0, 0, 0, 0]), "singular"),
    "d6-flat.nii": (nifti(scan_XYZ(2), srow_x=[2, 2, 0, 0], srow_y=[2, 2, 0, 0]), "singular"),
    "d6-tiny.nii": (nifti(scan_XYZ(2), srow_z=[0, 0, 1e-9, 0]), "singular"),
    "d6-nan.nii": (nifti(scan_XYZ(2), srow_y=[0, np.nan, 0, 0]), "not finite"),
    # D7: a slope that makes numbers of nothing
    "d7-intercept.nii": (nifti(scan_XYZ(3), scl_slope=2, scl_inter=np.nan), "slope"),
    "d7-overflow.nii": (nifti(scan_XYZ(3), scl_slope=3e38), "finite"),
    # D8: half a pair
    "d8-alone.hdr": (nifti(scan_XYZ(4), magic=b"ni1", vox_offset=0)[:348], "not beside"),
    "d8-single.img": (GOOD[352:], "not beside"),
    # D9: something else
    "d9-circle.tif": (circle(), "circle"),
    "d9-empty.nii.gz": (b"", "empty"),
    "d9-text.nii": (b"not an image at all" * 40, "Not a NIfTI"),
    "d9-text.dcm": (b"not an image at all" * 40, "DICOM"),
    "d9-page.png": (b"<!doctype html><title>502</title>", "PNG"),
    "d9-really-a-png.nii.gz": (png(PIXELS), "Not a NIfTI"),
    "d9-really-nifti.tif": (GOOD, "TIFF"),
    "d9-other.bmp": (b"BM" + bytes(60), "No reader"),
    "d9-no-ending": (os.urandom(64) + b"\xff" * 400, "No reader"),
    "d9-archive.tar": (tar(), "No reader"),
    "d9-pickle.npy": (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "pickled"),
    "d9-broken.zip": (archive(("a.nii", GOOD))[:-30], "archive"),
    "d9-none.zip": (archive(), "no image"),
    "d9-text.zip": (archive(("readme.txt", b"hello")), "no image"),
}
BAD_MEMBERS = {
    **dict.fromkeys(OUTSIDE, (GOOD, "leads out")),
    "link.nii": (b"/etc/passwd", "link"),
    "inner.zip": (archive(("a.nii", GOOD)), "archive inside an archive"),
    "inner.tar.gz": (b"\x1f\x8b", "archive inside an archive"),
    "torn.nii.gz": (PACKED[:-9], "cut short"),
    "empty.png": (b"", "empty"),
}


def write_corpus(folder):
    """Everything that is bad, in files, in an archive and by links. Returns each name with a part of its reason."""
    (folder / "outside").mkdir(parents=True)
    (folder / "outside" / "secret.nii").write_bytes(nifti(scan_XYZ(99)))
    place = folder / "in"
    (place / "sub").mkdir(parents=True)
    reasons = {}
    for name, (payload, reason) in BAD_FILES.items():
        (place / name).write_bytes(payload)
        inside = {"d4-bomb.zip": "!/big.nii", "d4-claim.zip": "!/big.nii"}.get(name, "")
        reasons[name + inside] = reason
    members = [(link(name) if name == "link.nii" else name, payload) for name, (payload, _) in BAD_MEMBERS.items()]
    (place / "hostile.zip").write_bytes(archive(*members, ("good/inside.nii", nifti(scan_XYZ(50)))))
    reasons |= {f"hostile.zip!/{name}": reason for name, (_, reason) in BAD_MEMBERS.items()}
    (place / "link-out.nii").symlink_to(folder / "outside" / "secret.nii")
    (place / "folder-out").symlink_to(folder / "outside")
    (place / "dangling.nii").symlink_to(place / "gone.nii")
    (place / "round.nii").symlink_to(place / "round.nii")
    os.mkfifo(place / "pipe.nii")
    reasons |= {"link-out.nii": "link", "folder-out": "link", "dangling.nii": "not there"}
    reasons |= {"round.nii": "leads back", "pipe.nii": "not a file"}
    (place / "sub" / "good.nii.gz").write_bytes(gzip.compress(nifti(scan_XYZ(51))))
    (place / "sub" / "good.png").write_bytes(png(PIXELS))
    (place / "sub" / "notes.txt").write_text("no image, and nobody says so")
    return reasons
