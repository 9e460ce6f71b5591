"""What is to be ingested is found without surprises, and nothing outside the folder named is touched."""

import numpy as np
import pytest

from hilum.adapters.folders import find_source
from hilum.core.errors import DataError, NotFoundError
from hilum.core.sources import SourceItem


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def index(folder, *lines):
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_an_index_says_everything_of_every_image(tmp_path):
    touch(tmp_path, "a.png", "b.png", "b_mask.png", "stray.png")
    index(tmp_path, "image,label,class,patient,side", "a.png,,polyp,p1,pool", "b.png,b_mask.png,,p2,test")
    source = find_source(str(tmp_path))
    assert source.items == (
        SourceItem("a.png", None, "polyp", "p1", "pool"),
        SourceItem("b.png", "b_mask.png", None, "p2", "test"),
    )
    assert source.class_names == ("polyp",)
    assert len(source.digests) == 3


def test_classes_of_an_index_are_sorted_and_numbers_count(tmp_path):
    touch(tmp_path, *(f"{n}.png" for n in range(4)))
    index(tmp_path, "image,class", "0.png,10", "1.png,9", "2.png,normal", "3.png,")
    assert find_source(str(tmp_path)).class_names == ("9", "10", "normal")


@pytest.mark.parametrize("folders", [("images", "labels"), ("imagesTr", "labelsTr")])
def test_images_and_labels_of_the_same_name_belong_together(tmp_path, folders):
    images, labels = folders
    touch(tmp_path, f"{images}/a.nii.gz", f"{images}/b.nii.gz", f"{images}/deep/c.jpg")
    touch(tmp_path, f"{labels}/a.nii.gz", f"{labels}/deep/c.png", f"{labels}/d.nii.gz")
    pairs = [(item.image, item.label) for item in find_source(str(tmp_path)).items]
    assert pairs == [
        (f"{images}/a.nii.gz", f"{labels}/a.nii.gz"),
        (f"{images}/b.nii.gz", None),
        (f"{images}/deep/c.jpg", f"{labels}/deep/c.png"),
    ]


def test_otherwise_every_readable_file_below_is_an_image_of_its_own_patient(tmp_path):
    touch(tmp_path, "x/a.png", "x/y/b.nii", "notes.txt", "c.npz")
    items = find_source(str(tmp_path)).items
    assert [item.image for item in items] == ["c.npz", "x/a.png", "x/y/b.nii"]
    assert len({item.patient_or_file for item in items}) == 3


def test_a_pattern_takes_the_files_it_matches(tmp_path):
    touch(tmp_path, "x/a.png", "x/y/b.png", "x/y/b.nii", "z.png")
    source = find_source(f"{tmp_path}/x/**/*.png")
    assert sorted(item.image for item in source.items) == ["a.png", "y/b.png"]
    assert source.root == f"{tmp_path}/x"


def test_one_file_is_a_source_too(tmp_path):
    touch(tmp_path, "only.npy")
    source = find_source(f"{tmp_path}/only.npy")
    assert (source.root, [item.image for item in source.items]) == (str(tmp_path), ["only.npy"])


def test_a_relative_folder_is_named_from_the_top_because_workers_live_elsewhere(tmp_path, monkeypatch):
    touch(tmp_path, "scans/a.png")
    monkeypatch.chdir(tmp_path)
    assert find_source("scans").root == f"{tmp_path}/scans"
    assert find_source("scans/*.png").root == f"{tmp_path}/scans"


@pytest.mark.parametrize("where", ["nowhere", "nowhere/*.png", "empty"])
def test_nothing_to_ingest_is_said(tmp_path, where):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError):
        find_source(f"{tmp_path}/{where}")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["image,pateint", "a.png,x"], "Did you mean 'patient'"),
        (["file", "a.png"], "column"),
        (["label", "a.png"], "needs a column 'image'"),
        (["image"], "no rows"),
        (["image,side", "a.png,train"], "No side is called 'train'"),
        (["image", "../secret.png"], "inside the folder"),
        (["image", "/etc/passwd"], "inside the folder"),
        (["image,label", "a.png,x/../../b.png"], "inside the folder"),
        (["image", "file:///etc/passwd"], "inside the folder"),
        (["image,class", ",x"], "line 2: 'image' is empty"),
        (["image", "a.png,too,many"], "column"),
    ],
)
def test_an_index_that_cannot_be_meant_is_refused(tmp_path, lines, said):
    touch(tmp_path, "a.png")
    index(tmp_path, *lines)
    with pytest.raises(DataError, match=said.replace("(", r"\(")):
        find_source(str(tmp_path))


def test_an_index_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "index.csv").write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(DataError, match="UTF-8"):
        find_source(str(tmp_path))


def test_a_spreadsheet_s_byte_order_mark_does_not_hide_the_first_column(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "index.csv").write_bytes("\ufeffimage\r\na.png\r\n".encode())
    assert find_source(str(tmp_path)).items == (SourceItem("a.png"),)


def test_a_link_that_leaves_the_folder_is_an_item_that_is_never_opened_and_hides_no_other(tmp_path):
    touch(tmp_path, "secret.png", "secrets/b.png", "scans/a.png", "scans-of-others/c.png")
    (tmp_path / "scans" / "inside.png").symlink_to(tmp_path / "scans" / "a.png")
    (tmp_path / "scans" / "outside.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "scans" / "outer").symlink_to(tmp_path / "secrets")
    (tmp_path / "scans" / "round").symlink_to(tmp_path / "scans")
    (tmp_path / "scans" / "nowhere.png").symlink_to(tmp_path / "scans" / "gone.png")
    (tmp_path / "scans" / "of-others.png").symlink_to(tmp_path / "scans-of-others" / "c.png")
    source = find_source(f"{tmp_path}/scans")
    assert [item.image for item in source.items] == [
        "a.png",
        "inside.png",
        "nowhere.png",
        "of-others.png",
        "outer",
        "outside.png",
    ]
    assert [digest == "missing" for digest in source.digests] == [False, False, True, True, True, True]


@pytest.mark.parametrize("content", ['["air", "liver"]', '{"0": "air", "1": "liver"}'])
def test_class_names_come_from_labels_json(tmp_path, content):
    touch(tmp_path, "a.png")
    (tmp_path / "labels.json").write_text(content)
    assert find_source(str(tmp_path)).class_names == ("air", "liver")


@pytest.mark.parametrize("content", ['{"1": "liver"}', '{"0": 3}', "3", "{", '["a", 1]'])
def test_class_names_with_gaps_are_refused(tmp_path, content):
    touch(tmp_path, "a.png")
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DataError, match=r"labels\.json"):
        find_source(str(tmp_path))


def test_the_fingerprint_follows_names_contents_and_words_but_not_the_place(tmp_path):
    for place in ("one", "two"):
        np.save(tmp_path / f"{place}.npy", np.zeros(3))
        touch(tmp_path / place, "a.png", "b.png")
        index(tmp_path / place, "image,side", "a.png,pool", "b.png,test")
    first = find_source(f"{tmp_path}/one").fingerprint
    assert find_source(f"{tmp_path}/two").fingerprint == first
    (tmp_path / "two" / "b.png").write_bytes(b"other")
    changed = find_source(f"{tmp_path}/two").fingerprint
    index(tmp_path / "one", "image,side", "a.png,pool", "b.png,pool")
    assert len({first, changed, find_source(f"{tmp_path}/one").fingerprint}) == 3


def test_a_file_that_the_index_names_and_the_folder_lacks_is_left_for_ingest_to_quarantine(tmp_path):
    touch(tmp_path, "a.png")
    index(tmp_path, "image", "a.png", "gone.png")
    assert find_source(str(tmp_path)).digests[1] == "missing"


def test_no_path_shows_when_a_source_is_printed(tmp_path):
    touch(tmp_path, "Jane_Doe.png")
    index(tmp_path, "image,patient", "Jane_Doe.png,Jane Doe")
    source = find_source(str(tmp_path))
    assert "Jane" not in repr(source)
    assert str(tmp_path) not in repr(source)
