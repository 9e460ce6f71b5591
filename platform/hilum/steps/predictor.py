"""From a store and a checkpoint's id to a predictor: where `store` and `nn` meet."""

from functools import lru_cache

from hilum.nn.encoder import encoder_from
from hilum.nn.imported_encoder import ImportedEncoder
from hilum.nn.predictor import EMBEDS, Precision, Predictor, predictor_from
from hilum.nn.pruning import prune_network
from hilum.steps.import_encoder import encoder_of
from hilum.store import checkpoints
from hilum.store.layout import Store

_NUM_KEPT = 2


@lru_cache(maxsize=_NUM_KEPT)
def load_predictor(
    store: Store, checkpoint_id: str, *, precision: Precision = "float32", depth: int | None = None
) -> Predictor:
    """The predictor of a checkpoint, pruned to ``depth`` if given; a warm worker builds it once."""
    tensors, card = checkpoints.load(store, checkpoint_id)
    predictor = predictor_from(tensors, card, precision=precision)
    if depth is None:
        return predictor
    return Predictor(*prune_network(predictor.network, card, depth), precision=precision)


@lru_cache(maxsize=_NUM_KEPT)
def load_encoder(store: Store, checkpoint_id: str, *, precision: Precision = "float32") -> Predictor | ImportedEncoder:
    """The encoder of a checkpoint, which embeds and predicts nothing; a warm worker builds it once."""
    if checkpoints.read_card(store, checkpoint_id)["question"] == EMBEDS:
        return encoder_of(store, checkpoint_id, precision=precision)
    tensors, card = checkpoints.load(store, checkpoint_id)
    return encoder_from(tensors, card, precision=precision)
