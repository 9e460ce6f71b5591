"""Pictures of one store: few open volumes, and no more drawn at once than there are cores."""

import os
import threading
from functools import lru_cache

from hilum.adapters.label_studio.links import ImagePlace
from hilum.adapters.label_studio.pages import DRAWING_VERSION, View, check_view, draw_page, encoded, view_of
from hilum.adapters.label_studio.three_planes import draw_planes
from hilum.core.errors import NotFoundError, RequestError
from hilum.core.ids import content_id
from hilum.core.imaging import Volume
from hilum.store.layout import Store
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

_NUM_INGESTS = 4
_NUM_READERS = 32


class Pictures:
    """Draws what an address names. Volumes never change, so what was opened is kept open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._drawing = threading.BoundedSemaphore(max(1, len(os.sched_getaffinity(0))))
        self._volumes = lru_cache(_NUM_INGESTS)(lambda ingest_id: volumes_of(store, ingest_id))
        self._reader = lru_cache(_NUM_READERS)(lambda volume: open_volume(store, volume))

    def find(self, place: ImagePlace) -> View:
        """How the picture is shown; NotFoundError where there is none."""
        try:
            view = view_of(place.view, place.patch)
            check_view(view, self.volume(place), place.page)
        except RequestError:
            raise NotFoundError("There is no such picture.") from None
        return view

    def volume(self, place: ImagePlace) -> Volume:
        """The volume that a picture is of; NotFoundError where the ingest has none of this id."""
        volume: Volume | None = self._volumes(place.ingest_id).get(place.patch.volume_id)
        if volume is None:
            raise NotFoundError("There is no such volume.")
        return volume

    def draw(self, place: ImagePlace, view: View) -> bytes:
        """The picture's file. Waits while as many are drawn as there are cores."""
        with self._drawing:
            reader: VolumeReader = self._reader(self.volume(place))
            draw = draw_page if place.shows == "page" else draw_planes
            return encoded(draw(reader, view, place.page), place.encoding)


def etag_of(place: ImagePlace) -> str:
    """The picture's name for caches: a volume never changes, so its address says it all."""
    return f'"{content_id([DRAWING_VERSION, place.path])}"'
