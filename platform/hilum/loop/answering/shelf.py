"""Networks at hand: the versions asked for last stay built, each at the depths it is asked at."""

import threading
from collections import OrderedDict
from typing import Literal

from hilum.core.errors import RecipeError
from hilum.loop.answering.versions import Version
from hilum.nn.predictor import Precision, Predictor, predictor_from
from hilum.nn.pruning import depths_of, prune_network
from hilum.store import checkpoints
from hilum.store.layout import Store

Quality = Literal["fast", "balanced", "accurate"]


class Shelf:
    """At most ``num_kept`` versions; the one not used for longest goes first. Called by several threads at a time."""

    def __init__(self, store: Store, *, num_kept: int = 3, precision: Precision = "float32") -> None:
        self._store, self._num_kept, self._precision = store, num_kept, precision
        self._kept: OrderedDict[str, dict[int | None, Predictor]] = OrderedDict()
        self._lock = threading.Lock()
        self._building: dict[str, threading.Lock] = {}

    def predictor(self, version: Version, depth: int | None = None) -> Predictor:
        """The version's network, pruned to ``depth`` if given. CorruptionError when its weights are damaged.

        RecipeError for a depth that it has not. Whoever asks for one that is being built waits for it, nobody else.
        """
        with self._lock:
            built = self._kept.get(version.checkpoint_id, {})
            if depth in built:
                self._kept.move_to_end(version.checkpoint_id)
                return built[depth]
            building = self._building.setdefault(version.checkpoint_id, threading.Lock())
        with building:
            built = self._kept.get(version.checkpoint_id) or {None: self._built(version)}
            if depth not in built:
                whole = built[None]
                built[depth] = Predictor(
                    *prune_network(whole.network, whole.card, depth or 0),
                    precision=self._precision,
                    lies_last=True,
                )
            self._keep(version.checkpoint_id, built)
        return built[depth]

    def is_built(self, version: Version) -> bool:
        """Whether the version's whole network is at hand."""
        return None in self._kept.get(version.checkpoint_id, {})

    def depths(self, version: Version) -> list[int]:
        """The depths at which it can answer, shallowest first; none where it has but one."""
        predictor = self.predictor(version)
        try:
            return depths_of(predictor.network, predictor.card)
        except RecipeError:
            return []

    def depth_for(self, version: Version, quality: Quality) -> int | None:
        """'fast' answers at the shallowest depth, 'balanced' in the middle, 'accurate' at the deepest: None."""
        depths = self.depths(version)
        if not depths or quality == "accurate":
            return None
        depth = depths[0] if quality == "fast" else depths[len(depths) // 2]
        return None if depth == depths[-1] else depth

    def _built(self, version: Version) -> Predictor:
        return predictor_from(
            *checkpoints.load(self._store, version.checkpoint_id), precision=self._precision, lies_last=True
        )

    def _keep(self, checkpoint_id: str, built: dict[int | None, Predictor]) -> None:
        with self._lock:
            self._kept[checkpoint_id] = built
            self._kept.move_to_end(checkpoint_id)
            while len(self._kept) > self._num_kept:
                gone, _ = self._kept.popitem(last=False)
                self._building.pop(gone, None)
