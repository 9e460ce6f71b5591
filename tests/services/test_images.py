"""Pictures of the bridge, as a browser fetches them from a real server: the right voxels, to the right people only."""

import hashlib
import hmac
import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from tests.services.own_server import (
    CLIENT,
    KEY,
    ORIGIN,
    OTHER_KEY,
    SECRET,
    phantom_image,
    phantom_volume,
    serving,
    stored,
)

from hilum.adapters.label_studio.links import ImagePlace, Signer
from hilum.adapters.label_studio.pages import View
from hilum.adapters.label_studio.slices import hang
from hilum.core.geometry import Patch
from hilum_services.bridge.app import Access, make_app

PLANES = ["axial", "coronal", "sagittal"]
LOW, HIGH = -900.0, 1200.0


@pytest.fixture(scope="module")
def volume():
    return phantom_volume()


@pytest.fixture(scope="module")
def image(volume):
    return phantom_image(volume)


@pytest.fixture(scope="module")
def place(tmp_path_factory, volume, image):
    """The place of one picture in the store that is served."""
    store, ingest_id = stored(str(tmp_path_factory.mktemp("store")), (volume, image))
    access = Access((KEY.encode(), OTHER_KEY.encode()), (SECRET.encode(),), (ORIGIN,))
    patch = Patch(volume.volume_id, (2, 3, 4), (6, 5, 7))

    def make(plane="axial", *, page=0, margin=(1, 2, 3), window="full", side=1, patch=patch, **more):
        pages = hang(volume, patch, plane=plane, margin_zyx=margin, target_side=side)
        return ImagePlace(ingest_id, patch, View(pages, window).word, page, **more), pages

    with serving(make_app(store, access)) as url:
        make.url = url
        yield make


def fetch(make, picture, *, key=KEY, expires_in=60, **more):
    url = Signer([key.encode()]).url(make.url, picture, time.time() + expires_in)
    return CLIENT.get(url, **more)


def pixels(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.mark.parametrize("side", [1, 64])
@pytest.mark.parametrize("plane", PLANES)
def test_every_pixel_of_every_page_is_the_voxel_that_it_says(place, image, plane, side):
    num_pages = place(plane)[1].num_pages
    for page in range(num_pages):
        picture, pages = place(plane, page=page, side=side)
        found = pixels(fetch(place, picture))
        assert found.shape == pages.shape_yx
        rows, columns = pages.asked_box()
        crossed = np.zeros(found.shape, bool) if pages.plane(page) is not None else _diagonals(*found.shape)
        for row in range(rows.start, rows.stop):
            for column in range(columns.start, columns.stop):
                grey = (image[(0, *pages.voxel(page, row, column))] - LOW) / (HIGH - LOW)
                expected = (0, 255) if crossed[row, column] else (round(255 * min(max(grey, 0), 1)),)
                assert found[row, column] in expected, (page, row, column)


def _diagonals(height, width):
    """From corner to corner, both ways."""
    line = np.zeros((height, width), bool)
    for step in range(max(height, width)):
        line[step * height // max(height, width), step * width // max(height, width)] = True
    return line | line[:, ::-1]


def test_without_a_margin_there_is_no_frame_and_with_one_it_runs_outside_the_patch(place):
    _, bare = place(margin=(0, 0, 0))
    _, framed = place()
    without = pixels(fetch(place, place(page=bare.page(0), margin=(0, 0, 0))[0]))
    found = pixels(fetch(place, place(page=framed.page(0))[0]))
    rows, columns = framed.asked_box()
    assert (found[rows, columns] == without).all()
    around = [found[rows.start - 1, columns], found[rows.stop, columns], found[rows, columns.start - 1]]
    assert set(np.unique(np.concatenate(around))) <= {0, 255}


def test_a_window_of_ct_is_the_one_that_every_radiologist_means(place, image, volume):
    picture, pages = place(window="lung", margin=(0, 0, 0))
    found = pixels(fetch(place, picture))
    grey = (image[(0, *pages.voxel(0, 0, 0))] + 1350) / 1500
    assert found[0, 0] == round(255 * min(max(grey, 0), 1))


def test_jpeg_is_the_same_picture_nearly(place):
    picture, _ = place(side=64, encoding="jpg")
    answer = fetch(place, picture)
    assert answer.headers["content-type"] == "image/jpeg"
    exact = pixels(fetch(place, place(side=64)[0])).astype(int)
    assert np.abs(pixels(answer).astype(int) - exact).mean() < 12


def test_three_planes_show_the_whole_item_with_the_patch_marked(place):
    found = pixels(fetch(place, place(shows="planes")[0]))
    assert found.ndim == 3
    for colour in ((0, 212, 154), (230, 159, 0)):
        assert (found == colour).all(axis=2).any()


def test_a_picture_that_is_known_is_not_sent_again(place):
    picture, _ = place()
    first = fetch(place, picture)
    etag = first.headers["etag"]
    for said in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = fetch(place, picture, headers={"If-None-Match": said})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert fetch(place, picture, headers={"If-None-Match": '"x"'}).status_code == 200
    assert fetch(place, place(page=1)[0]).headers["etag"] != etag


def test_only_the_persons_own_browser_keeps_it_and_no_longer_than_the_address_is_good(place):
    control = fetch(place, place()[0], expires_in=50).headers["cache-control"]
    assert control.startswith("private, max-age=")
    assert 0 < int(control.split("max-age=")[1].split(",")[0]) <= 51


@pytest.mark.parametrize("status", [200, 304, 403, 404])
def test_the_pages_of_label_studio_may_show_it_and_no_others(place, status):
    picture, _ = place(page=99 if status == 404 else 0)
    headers = {"If-None-Match": "*"} if status == 304 else {}
    key = "forged-key-0123456789abcdef" if status == 403 else KEY
    theirs = fetch(place, picture, key=key, headers={"Origin": ORIGIN, **headers})
    assert theirs.status_code == status
    assert theirs.headers["access-control-allow-origin"] == ORIGIN
    others = fetch(place, picture, key=key, headers={"Origin": "http://evil.test", **headers})
    assert "access-control-allow-origin" not in others.headers
    for answer in (theirs, others, fetch(place, picture, key=key, headers=headers)):
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers


def test_an_address_is_needed_that_is_signed_and_has_not_expired(place):
    picture, _ = place()
    good = Signer([KEY.encode()]).url(place.url, picture, time.time() + 60)
    assert CLIENT.get(good).status_code == 200
    assert fetch(place, picture, key=OTHER_KEY).status_code == 200
    assert CLIENT.get(good.partition("?")[0]).status_code == 401
    assert fetch(place, picture, expires_in=-1).status_code == 403
    assert CLIENT.get(good.replace("/0.png", "/1.png")).status_code == 403
    assert CLIENT.get(good[:-1] + ("0" if good[-1] != "0" else "1")).status_code == 403
    assert CLIENT.get(good.replace("expires=", "expires=9")).status_code == 403
    assert fetch(place, picture, key="forged-key-0123456789abcdef", headers={"If-None-Match": "*"}).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"page": 99},
        {"window": "brain", "view": "brainy"},
        {"ingest_id": "0" * 12},
        {"volume_id": "f" * 12},
        {"start": (9, 9, 9)},
        {"start": (999_999, 0, 0)},
        {"shape": (0, 1, 1)},
    ],
    ids=str,
)
def test_what_is_not_there_is_not_found_and_nothing_is_told_of_the_store(place, change, tmp_path_factory):
    picture, _ = place(page=change.get("page", 0))
    patch = Patch(
        change.get("volume_id", picture.patch.volume_id),
        change.get("start", picture.patch.start_zyx),
        change.get("shape", picture.patch.shape_zyx),
    )
    word = picture.view.replace("full", change.get("view", "full"))
    other = ImagePlace(change.get("ingest_id", picture.ingest_id), patch, word, picture.page)
    answer = fetch(place, other)
    assert answer.status_code == 404
    assert answer.json() == {"error": "There is nothing at this address."}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("channel", ["c1", "c99", "c-1", "x"])
def test_a_channel_that_is_not_there_is_not_found(place, channel):
    picture, _ = place()
    other = ImagePlace(picture.ingest_id, picture.patch, picture.view.replace("c0", channel), 0)
    assert fetch(place, other).status_code == 404


TRAVERSALS = [
    "../../hilum.json",
    "%2e%2e/%2e%2e/hilum.json",
    "..%2f..%2fidentity.key",
    "....//x",
    "%00",
    "a/b/c/d/e/0.png",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leaves_the_pictures(place, path):
    answer = CLIENT.get(f"{place.url}/v1/images/{path}")
    assert answer.status_code in {401, 404}
    # Even one who had the key would find nothing.
    plain = f"/v1/images/{path}"
    expires = str(int(time.time()) + 60)
    mac = hmac.new(KEY.encode(), f"{plain}\n{expires}".encode(), hashlib.sha256).hexdigest()
    assert Signer([KEY.encode()]).check(plain, expires, mac) == "good"
    assert CLIENT.get(f"{place.url}{plain}?expires={expires}&signature={mac}").status_code in {401, 403, 404}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/", "/v1/images/"])
def test_nothing_else_is_shown(place, path):
    answer = CLIENT.get(place.url + path)
    assert answer.status_code in {401, 404}
    assert set(answer.json()) == {"error"}


def test_damage_is_told_as_damage_and_without_a_path(tmp_path, volume, image):
    store, ingest_id = stored(str(tmp_path), (volume, image))
    shard = next(path for path in (tmp_path / "volumes").rglob("*") if path.is_file() and path.stat().st_size > 2000)
    shard.write_bytes(bytes(shard.stat().st_size))
    patch = Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx)
    picture = ImagePlace(ingest_id, patch, View(hang(volume, patch)).word, 0)
    with serving(make_app(store, Access((KEY.encode(),), (), (ORIGIN,)))) as url:
        answer = CLIENT.get(Signer([KEY.encode()]).url(url, picture, time.time() + 60))
    assert answer.status_code == 500
    assert "doctor" in answer.json()["error"]
    assert str(tmp_path) not in answer.text


def test_many_at_once_get_what_each_asked_for(place, image):
    asked = [place(plane, page=page)[0] for plane in PLANES for page in range(5)] * 3
    alone = {picture: fetch(place, picture).content for picture in set(asked)}
    with ThreadPoolExecutor(8) as pool:
        for picture, answer in zip(asked, pool.map(lambda one: fetch(place, one), asked), strict=True):
            assert answer.content == alone[picture]


def test_it_says_that_it_lives_and_whether_the_store_can_be_read(tmp_path, volume, image):
    store, _ = stored(str(tmp_path), (volume, image))
    with serving(make_app(store, Access((KEY.encode(),), (), ()))) as url:
        assert CLIENT.get(f"{url}/health").json() == {"status": "UP"}
        assert CLIENT.get(f"{url}/ready").status_code == 200
        (tmp_path / "hilum.json").rename(tmp_path / "gone")
        assert CLIENT.get(f"{url}/health").status_code == 200
        assert CLIENT.get(f"{url}/ready").status_code == 503
