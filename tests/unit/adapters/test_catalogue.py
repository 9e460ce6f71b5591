"""Public sets: nothing is used unchecked, everything carries its licence, and no internet is one clear sentence."""

import hashlib
import io
import json
import tarfile
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from hilum.adapters import catalogue, preparing
from hilum.adapters.downloads import Download, unpack_as, unpack_mednist, unpack_tar
from hilum.adapters.folders import find_source
from hilum.adapters.public_sets import SETS
from hilum.adapters.reading import read_item
from hilum.core.errors import CorruptionError, DataError, NotFoundError, RecipeError, RequestError

RNG = np.random.default_rng(0)


def tree_digest(folder):
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n"
        for p in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix())
        if p.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def a_mirror(tmp_path, name, fill):
    folder = tmp_path / "mirror" / name
    folder.mkdir(parents=True)
    fill(folder)
    return replace(SETS[name], digest=tree_digest(folder)), str(tmp_path / "mirror")


def small_mednist(folder, per_class=12):
    np.savez_compressed(
        folder / "mednist_6000x64x64.npz",
        images=RNG.integers(0, 255, (6 * per_class, 64, 64)).astype(np.uint8),
        labels=np.repeat(np.arange(6, dtype=np.uint8), per_class),
        classes=np.array(["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"]),
        names=np.array([f"{i}.jpeg" for i in range(6 * per_class)]),
    )


def small_hippocampus(folder, num=30):
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in range(num):
        data = RNG.integers(0, 99, (5, 6, 7)).astype(np.int16)
        for part, array in (("images", data), ("labels", (data % 3).astype(np.uint8))):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / part / f"hippocampus_{number:03d}.nii.gz")


def small_nuclei(folder):
    for part in ("images", "labels"):
        (folder / part).mkdir()
    lines = ["id,image_id,height,width,mode,nuclei"]
    for number, (size, mode) in enumerate([(16, "gray")] * 5 + [(20, "rgb")] * 3 + [(24, "gray")] * 2 + [(28, "gray")]):
        pixels = RNG.integers(0, 255, (size, size, 3)).astype(np.uint8)
        Image.fromarray(pixels if mode == "rgb" else pixels[..., 0]).save(folder / "images" / f"{number}.png")
        Image.fromarray(RNG.integers(0, 40, (size, size)).astype(np.uint16)).save(folder / "labels" / f"{number}.png")
        lines.append(f"{number},x,{size},{size},{mode},3")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def small_medmnist(file, shape):
    def fill(folder):
        arrays = {}
        for part, num in (("train", 8), ("val", 3), ("test", 4)):
            arrays[f"{part}_images"] = RNG.integers(0, 255, (num, *shape)).astype(np.uint8)
            arrays[f"{part}_labels"] = RNG.integers(0, 2, (num, 1)).astype(np.uint8)
        np.savez_compressed(folder / file, **arrays)

    return fill


def all_read(folder):
    source = find_source(str(folder))
    return source, [image for item in source.items for image in read_item(source.root, item)]


def test_every_set_says_where_it_comes_from_and_what_one_may_do_with_it():
    names = [found.name for found in catalogue.entries()]
    assert names == sorted(set(names))
    assert {"packaged", "mednist", "msd_hippocampus", "adrenalmnist3d", "pneumoniamnist"} <= set(names)
    for found in catalogue.entries():
        assert found.home.startswith("http")
        assert found.licence
        assert found.citation
        assert found.preparations
        assert found.is_packaged or len(found.digest) == 64


def test_a_wrong_name_is_guessed():
    with pytest.raises(RecipeError, match="Did you mean 'mednist'"):
        catalogue.entry("mednits")
    with pytest.raises(RecipeError, match="rare"):
        catalogue.fetch("mednist", "x", preparation="rarer")


def test_where_names_the_mirror_then_the_internet_then_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv(catalogue.MIRROR, raising=False)
    assert catalogue.where("packaged") == "installed packages"
    assert catalogue.where("mednist").startswith("https://")
    assert "by hand" in catalogue.where("sct_t2")
    (tmp_path / "mednist").mkdir()
    assert catalogue.where("mednist", mirror=str(tmp_path)) == str(tmp_path / "mednist")
    monkeypatch.setenv(catalogue.MIRROR, str(tmp_path))
    assert catalogue.where("mednist") == str(tmp_path / "mednist")
    with pytest.raises(NotFoundError, match="no folder 'sct_t2'"):
        catalogue.where("sct_t2")


def test_a_set_is_prepared_with_its_licence_beside_it_and_only_once(tmp_path):
    wanted, mirror = a_mirror(tmp_path, "msd_hippocampus", small_hippocampus)
    target = catalogue.fetch_entry(wanted, tmp_path / "out", mirror=mirror)
    assert "CC BY-SA 4.0" in (target / "LICENCE.txt").read_text()
    card = json.loads((target / "source.json").read_text())
    assert (card["name"], card["preparation"], card["question"]) == ("msd_hippocampus", "segment", "segment")
    before = {p: p.stat().st_mtime_ns for p in target.rglob("*")}
    catalogue.fetch_entry(wanted, tmp_path / "out", mirror="/nowhere/at/all")
    assert {p: p.stat().st_mtime_ns for p in target.rglob("*")} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mirror", "out"]


def test_a_patient_is_dealt_to_the_same_side_on_every_machine(tmp_path):
    wanted, mirror = a_mirror(tmp_path, "msd_hippocampus", small_hippocampus)
    source, images = all_read(catalogue.fetch_entry(wanted, tmp_path / "out", mirror=mirror))
    sides = {item.patient: item.side for item in source.items}
    assert len(sides) == len(images) == 30
    assert [sides[f"hippocampus_{number:03d}"] for number in (0, 1, 2, 3)] == ["pool", "test", "pool", "test"]
    assert {"pool", "test", "validation"} == set(sides.values())
    assert source.class_names == ("background", "anterior", "posterior")


def test_a_changed_file_in_the_mirror_is_refused_and_leaves_nothing(tmp_path):
    wanted, mirror = a_mirror(tmp_path, "mednist", small_mednist)
    with (tmp_path / "mirror" / "mednist" / "mednist_6000x64x64.npz").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CorruptionError, match="checksum"):
        catalogue.fetch_entry(wanted, tmp_path / "out", mirror=mirror)
    assert [p.name for p in tmp_path.iterdir()] == ["mirror"]


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    wanted, mirror = a_mirror(tmp_path, "mednist", small_mednist)
    (tmp_path / "out").mkdir()
    with pytest.raises(RequestError, match="name another folder"):
        catalogue.fetch_entry(wanted, tmp_path / "out", mirror=mirror)


def test_rare_classes_are_rare_in_the_pool_only(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "out").mkdir()
    small_mednist(tmp_path / "raw", per_class=1000)
    preparing.mednist_rare(tmp_path / "raw", tmp_path / "out")
    _, stacks = all_read(tmp_path / "out")
    counts = {stack.side: sorted(np.bincount(stack.classes).tolist()) for stack in stacks}
    assert counts == {"pool": [40, 40, 40, 650, 650, 650], "test": [150] * 6, "validation": [10] * 6}
    assert {stack.item_shape_zyx for stack in stacks} == {(1, 32, 32)}
    digests = [hashlib.sha256(i.tobytes()).digest() for s in stacks for i in s.image_czyx[0]]
    assert len(set(digests)) == len(digests), "an image is in two places"


@pytest.mark.parametrize(
    ("set_name", "preparation", "file", "item"),
    [
        ("pneumoniamnist", "imbalanced", "pneumoniamnist_imbalanced_train.npz", (1, 28, 28)),
        ("pneumoniamnist", "balanced", "pneumoniamnist_balanced_subset.npz", (1, 28, 28)),
        ("adrenalmnist3d", "half", "adrenalmnist3d_64.npz", (8, 8, 8)),
        ("adrenalmnist3d", "whole", "adrenalmnist3d_64.npz", (16, 16, 16)),
    ],
)
def test_a_medmnist_archive_keeps_its_own_sides(tmp_path, set_name, preparation, file, item):
    shape = (28, 28) if set_name == "pneumoniamnist" else (16, 16, 16)
    wanted, mirror = a_mirror(tmp_path, set_name, small_medmnist(file, shape))
    target = catalogue.fetch_entry(wanted, tmp_path / "out", preparation=preparation, mirror=mirror)
    _, stacks = all_read(target)
    assert {stack.side: len(stack.classes) for stack in stacks} == {"pool": 8, "validation": 3, "test": 4}
    assert {stack.item_shape_zyx for stack in stacks} == {item}


def test_halving_is_the_rounded_mean_and_needs_even_sizes():
    images = RNG.integers(0, 256, (3, 4, 6, 8)).astype(np.uint8)
    exact = images.reshape(3, 2, 2, 3, 2, 4, 2).mean(axis=(2, 4, 6))
    assert np.abs(preparing._halved(images) - exact).max() <= 0.5
    with pytest.raises(DataError, match="even"):
        preparing._halved(images[:, :3])


def test_nuclei_become_grey_images_with_one_class_and_a_plate_is_on_one_side(tmp_path):
    wanted, mirror = a_mirror(tmp_path, "nuclei_dsb2018", small_nuclei)
    source, images = all_read(catalogue.fetch_entry(wanted, tmp_path / "out", mirror=mirror))
    assert {image.image_czyx.shape[0] for image in images} == {1}
    assert {int(image.label_map_zyx.max()) for image in images} == {1}
    sides = {(item.patient, item.side) for item in source.items}
    assert sides == {
        ("16x16 gray", "pool"),
        ("20x20 rgb", "pool"),
        ("24x24 gray", "test"),
        ("28x28 gray", "validation"),
    }


def test_packaged_images_need_no_mirror(tmp_path):
    target = catalogue.fetch("packaged", tmp_path / "out", preparation="segment", mirror="/nowhere/at/all")
    source, images = all_read(target)
    assert {item.side for item in source.items} == {"pool", "validation", "test"}
    assert len(images) == 3


@pytest.fixture
def website(tmp_path, monkeypatch):
    monkeypatch.delenv("HILUM_DATA_MIRROR", raising=False)
    folder = tmp_path / "website"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def offered(website, name, content, unpack):
    folder, url = website
    (folder / name).write_bytes(content)
    return Download(f"{url}/{name}", hashlib.md5(content).hexdigest(), unpack)


def tar_of(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("set/images/link.nii.gz")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return packed.getvalue()


def test_a_download_is_checked_unpacked_by_name_and_prepared(tmp_path, website):
    small_hippocampus_folder = tmp_path / "raw"
    small_hippocampus_folder.mkdir()
    small_hippocampus(small_hippocampus_folder, num=12)
    files = {
        f"Task04_Hippocampus/{part}Tr/{p.name}": p.read_bytes()
        for part in ("images", "labels")
        for p in (small_hippocampus_folder / part).iterdir()
    }
    hostile = {"../../evil.nii.gz": b"x", "Task04_Hippocampus/imagesTr/._hippocampus_001.nii.gz": b"x", "/abs": b"x"}
    real = SETS["msd_hippocampus"]
    archive = offered(website, "set.tar", tar_of(files | hostile), real.download.unpack)
    source, images = all_read(catalogue.fetch_entry(replace(real, download=archive), tmp_path / "out"))
    assert len(source.items) == len(images) == 12
    assert not list(tmp_path.rglob("evil*"))


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_of({"set/images/a.nii.gz": b"voxels"}))
    unpack_tar((r"set/(images/[a-z]+\.nii\.gz)", r"\1"))(tmp_path / "a.tar", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out" / "images").iterdir()] == ["a.nii.gz"]


def test_a_thousand_of_each_class_are_taken_evenly_from_the_original_archive(tmp_path):
    def jpeg():
        file = io.BytesIO()
        Image.fromarray(RNG.integers(0, 255, (64, 64)).astype(np.uint8)).save(file, "JPEG")
        return file.getvalue()

    files = {f"MedNIST/{kind}/{n:06d}.jpeg": jpeg() for kind in ("Hand", "CXR") for n in range(5)}
    (tmp_path / "a.tar").write_bytes(tar_of(files | {"MedNIST/README.md": b"x"}))
    unpack_mednist(tmp_path / "a.tar", tmp_path)
    with np.load(tmp_path / "mednist_6000x64x64.npz") as found:
        assert found["images"].shape == (10, 64, 64)
        assert found["labels"].tolist() == [0] * 5 + [1] * 5
        assert found["classes"].tolist() == ["CXR", "Hand"]


def test_an_archive_that_is_not_the_published_one_is_refused(tmp_path, website):
    right = offered(website, "set.npz", b"content", unpack_as("a.npz"))
    wanted = replace(SETS["mednist"], download=replace(right, md5="0" * 32))
    with pytest.raises(CorruptionError, match="MD5"):
        catalogue.fetch_entry(wanted, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["website"]


@pytest.mark.parametrize("missing", ["/not_there.tar", None])
def test_without_a_way_to_the_internet_the_mirror_is_named(tmp_path, website, missing, monkeypatch):
    monkeypatch.delenv(catalogue.MIRROR, raising=False)
    url = f"{website[1]}{missing}" if missing else "http://127.0.0.1:9/set.tar"
    wanted = replace(SETS["mednist"], download=Download(url, "0" * 32, unpack_as("a")))
    with pytest.raises(RequestError, match=catalogue.MIRROR):
        catalogue.fetch_entry(wanted, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["website"]


def test_a_set_that_cannot_be_downloaded_says_where_its_home_is(tmp_path, monkeypatch):
    monkeypatch.delenv(catalogue.MIRROR, raising=False)
    with pytest.raises(NotFoundError, match="github"):
        catalogue.fetch("sct_t2", tmp_path / "out")
