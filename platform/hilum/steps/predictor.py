"""From a store and a checkpoint's id to a predictor: where `store` and `nn` meet."""

from functools import lru_cache

from hilum.nn.predictor import Precision, Predictor, predictor_from
from hilum.store import checkpoints
from hilum.store.layout import Store

_NUM_KEPT = 2


@lru_cache(maxsize=_NUM_KEPT)
def load_predictor(store: Store, checkpoint_id: str, *, precision: Precision = "float32") -> Predictor:
    """The predictor of a checkpoint, kept in this process: a warm worker builds it once."""
    tensors, card = checkpoints.load(store, checkpoint_id)
    return predictor_from(tensors, card, precision=precision)
