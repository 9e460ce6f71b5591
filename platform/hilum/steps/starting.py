"""What a training starts from: first weights, the model it goes on from, or a checkpoint whose tensors it takes over.

Whatever is wrong with a checkpoint is told before any worker starts, by the function that workers call.
"""

from collections.abc import Mapping
from typing import Any

from hilum.core.errors import RecipeError
from hilum.core.recipes import FinetuneRecipe, Question
from hilum.nn.first_weights import draw_first_weights
from hilum.nn.heads import Network, build_network
from hilum.nn.holding import Held
from hilum.nn.predictor import EMBEDS, load_weights, network_of_card
from hilum.nn.transfer import Transfer, take_over
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.layout import Store

LICENCE = "that of the images it was trained on"
_SHOWN_LAYERS = 3


def started(card: Mapping[str, Any], recipe: FinetuneRecipe, store: Store) -> tuple[Network, Transfer | None]:
    """The network that a training's card describes, as the training finds it, and what it took over."""
    network = network_of_card(card, seed=recipe.seed)
    draw_first_weights(network, recipe.first_weights, seed=recipe.seed)
    start = card["inputs"]["start"]
    if recipe.checkpoint is not None:
        assert start == recipe.checkpoint, "teaching starts from the checkpoint that the recipe names"
        return network, taken_over(network, card["spatial_dims"], store, start)
    if start != NONE:
        load_weights(network, checkpoints.load(store, start)[0])
    return network, None


def held_by(recipe: FinetuneRecipe, transfer: Transfer | None) -> Held:
    """What stays as it was taken over for the recipe's first steps."""
    return Held(() if transfer is None else transfer.loaded, num_steps=recipe.num_frozen_steps)


def check_start(
    recipe: FinetuneRecipe, question: Question, store: Store, *, spatial_dims: int, in_channels: int, num_classes: int
) -> None:
    """RecipeError or NotFoundError unless the recipe's checkpoint is there and fits the network it is to start."""
    if recipe.checkpoint is None:
        return
    checkpoints.read_card(store, recipe.checkpoint)
    network = build_network(
        question, recipe.architecture, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes
    )
    taken_over(network, spatial_dims, store, recipe.checkpoint)


def taken_over(network: Network, spatial_dims: int, store: Store, checkpoint_id: str) -> Transfer:
    """Take over what fits; an error says which checkpoint does not, and what it is."""
    tensors, card = checkpoints.load(store, checkpoint_id)
    if card["question"] == EMBEDS:
        raise RecipeError(
            f"Cannot start from checkpoint {checkpoint_id}: it is an encoder of timm, which embeds candidates and is "
            "none of hilum's networks. To train over it choose finetune.architecture {kind: timm_unetpp}."
        )
    if card["spatial_dims"] != spatial_dims:
        wanted = "one slice" if card["spatial_dims"] == 2 else "several slices"
        raise RecipeError(
            f"Cannot start from checkpoint {checkpoint_id}: it learnt from {card['spatial_dims']}D patches, and these "
            f"are {spatial_dims}D. Give patches of {wanted}, or another checkpoint."
        )
    try:
        return take_over(network, tensors)
    except RecipeError as error:
        raise RecipeError(
            f"Cannot start from checkpoint {checkpoint_id}: {error}. Its architecture is {_short(card)}; give "
            "finetune.architecture the same kind, features, norm and flat levels, or start from another."
        ) from None


def account_of(transfer: Transfer, checkpoint_id: str, store: Store) -> dict[str, Any]:
    """What was taken over, as a training's manifest holds it."""
    return {
        "checkpoint": checkpoint_id,
        "licence": str(checkpoints.read_card(store, checkpoint_id).get("licence", "unknown")),
        "num_loaded": len(transfer.loaded),
        "num_fresh": len(transfer.fresh),
        "num_unused": len(transfer.unused),
        "parts": transfer.parts,
        **({"other_shapes": _listed(transfer.misshapen)} if transfer.misshapen else {}),
        "loaded": list(transfer.loaded),
        "fresh": list(transfer.fresh),
        "unused": list(transfer.unused),
    }


def told(account: Mapping[str, Any]) -> str:
    """An account in one line."""
    parts = ", ".join(f"{part} {share}" for part, share in account["parts"].items())
    line = f"{account['num_loaded']} tensors of {account['checkpoint']} ({parts})"
    return line + (f"; fresh for their shape: {account['other_shapes']}" if "other_shapes" in account else "")


def licence_of(start: Mapping[str, Any] | None) -> str:
    """The licence of what is trained: its images', and that of whatever weights it started from."""
    given = LICENCE if start is None else str(start.get("licence", "unknown"))
    return given if given.startswith(LICENCE) else f"{LICENCE}; that of the weights it started from: {given}"


def _short(card: Mapping[str, Any]) -> str:
    known = card["architecture"]
    told_of = [f"{name} {known[name]}" for name in ("features", "norm", "num_flat_levels") if name in known]
    return f"{known['kind']} ({', '.join(told_of)})" if told_of else str(known["kind"])


def _listed(layers: tuple[str, ...]) -> str:
    rest = len(layers) - _SHOWN_LAYERS
    return ", ".join(layers[:_SHOWN_LAYERS]) + (f" and {rest} more" if rest > 0 else "")
