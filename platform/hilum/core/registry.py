"""Extension points: five registries of functions, and one door for ours and yours.

A plug-in package declares an entry point in the group ``hilum.<point>s`` (for example
``hilum.scorers``) whose module registers functions when it is imported.

    @scorers.register("entropy")
    def entropy(probs_MCZYX): ...

    @samplers.register("power_top_k", params=PowerParams)
    def power_top_k(scored, num, *, rng, score, beta): ...
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hilum.core.errors import RecipeError, unknown_name
from hilum.core.recipes import Choice

F = TypeVar("F", bound=Callable[..., Any])


class Params(BaseModel):
    """Base of a registered function's parameters. The plain one has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MemberParams(Params):
    """Of samplers that read every member's class probabilities, which ``score.keep_members`` keeps."""


class ViewParams(Params):
    """Of samplers that read embeddings of several views of a candidate, which ``score.num_views`` keeps."""


class PredictedLossParams(Params):
    """Of scorers that read, instead of probabilities, the loss (K) that a checkpoint with a learning loss predicts."""


class Registry:
    """Names for one kind of function. A name cannot be taken twice."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._known: dict[str, tuple[Callable[..., Any], type[Params]]] = {}
        self._plugins_loaded = False

    def register(self, name: str, *, params: type[Params] = Params) -> Callable[[F], F]:
        def remember(function: F) -> F:
            if name in self._known:
                raise RecipeError(f"The {self.what} '{name}' is registered already; choose another name.")
            self._known[name] = (function, params)
            return function

        return remember

    def bind(self, choice: Choice) -> Callable[..., Any]:
        """The chosen function with its checked parameters as keyword arguments."""
        function, params = self._find(choice.kind)
        try:
            checked = params.model_validate(choice.params)
        except ValidationError as error:
            raise RecipeError(self._explain(choice, params, error)) from None
        values = {name: getattr(checked, name) for name in params.model_fields}
        return partial(function, **values) if values else function

    def params_of(self, name: str) -> type[Params]:
        return self._find(name)[1]

    def __contains__(self, name: str) -> bool:
        self._load_plugins()
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(sorted(self._known))

    def _find(self, name: str) -> tuple[Callable[..., Any], type[Params]]:
        self._load_plugins()
        if name not in self._known:
            raise RecipeError(unknown_name(self.what, name, self._known))
        return self._known[name]

    def _explain(self, choice: Choice, params: type[Params], error: ValidationError) -> str:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            return f"{self.what} '{choice.kind}': " + unknown_name("parameter", where, params.model_fields)
        return f"{self.what} '{choice.kind}', parameter '{where}': {first['msg']} (given {first['input']!r})."

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for plugin in entry_points(group=f"hilum.{self.what}s"):
            plugin.load()


scorers = Registry("scorer")
samplers = Registry("sampler")
architectures = Registry("architecture")
pretexts = Registry("pretext")
annotators = Registry("annotator")
