"""The step verbs by hand: what they name, what they ask for, and what they say to type next.

Runs are computed here in this process, through the chain that the commands use; the commands
then find them done. tests/ray types the same commands with nothing done before.
"""

import shlex

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.cli.composition import annotator_of
from hilum.cli.round_steps import chain_for
from hilum.core.resources import Resources
from hilum.steps import collect

HANDS = {"executor": InlineExecutor(), "resources": Resources()}


class Round:
    """One round whose runs are made on demand, and the commands about it."""

    def __init__(self, store, recipe, **known):
        self.chain = chain_for(recipe, store.url, None, **known)
        self.store, self.recipe = store, recipe

    def do(self, verb):
        planned = getattr(self.chain, verb)()
        hands = HANDS
        if verb == "publish":
            hands = {"annotator": self._annotator(), "resources": Resources()}
        return planned.step.run(planned.recipe, planned.inputs, store=self.store, **hands)

    def collect(self):
        recipe, inputs = self.chain.collect_recipe(), self.chain.collect_inputs()
        return collect.run(recipe, inputs, store=self.store, annotator=self._annotator())

    def _annotator(self):
        return annotator_of(self.store, self.chain.ingest_id, self.chain.recipe.annotator)


@pytest.fixture
def first_round(store, recipe):
    return Round(store, recipe)


def _asked(first_round):
    for verb in ("pool", "score", "select", "publish"):
        first_round.do(verb)
    return first_round


def _trained(first_round):
    _asked(first_round)
    labels = first_round.collect().run_id
    learning = Round(first_round.store, first_round.recipe, labels=labels)
    checkpoint = learning.do("finetune").run_id
    return labels, checkpoint


@pytest.mark.parametrize(
    ("verb", "first"),
    [
        ("score", "pool"),
        ("select", "pool"),
        ("label publish", "pool"),
        ("label collect", "pool"),
        ("label status", "pool"),
        ("evaluate --checkpoint none", "--checkpoint"),
        ("finetune --labels none", "--labels"),
    ],
)
def test_a_step_out_of_turn_says_what_to_type_first(verb, first, typed, store, recipe):
    command, _, options = verb.partition(" --")
    answer = typed(f"{command} {recipe} --store {store.url}" + (f" --{options}" if options else ""))
    assert answer.code == 2
    assert first in answer.err


def test_what_a_step_says_to_type_first_is_what_is_missing(typed, first_round):
    first_round.do("pool")
    answer = typed(f"select {first_round.recipe} --store {first_round.store.url}")
    assert f"hilum score {first_round.recipe} --store {first_round.store.url}" in answer.err


def test_each_verb_finds_what_was_done_and_names_the_next_until_the_labels(typed, first_round):
    _asked(first_round)
    line = f"pool {first_round.recipe} --store {first_round.store.url}"
    steps = []
    while not line.startswith("finetune"):
        answer = typed(f"{line} --json")
        assert answer.code == 0, answer.err
        if not line.startswith("label status"):
            steps.append((answer.document["step"], answer.document["already_done"]))
        line = answer.document["next"][0].removeprefix("hilum ")
    assert steps == [("pool", True), ("score", True), ("select", True), ("publish", True), ("collect", False)]
    assert shlex.split(line)[2:4] == ["--labels", first_round.collect().run_id]


def test_collecting_the_same_answers_again_is_already_done(typed, first_round):
    _asked(first_round)
    first_round.collect()
    line = f"label collect {first_round.recipe} --store {first_round.store.url} --json"
    assert typed(line).document["already_done"]


def test_what_follows_training_names_the_checkpoint(typed, first_round):
    labels, checkpoint = _trained(first_round)
    at = f"--store {first_round.store.url} --json"
    answer = typed(f"finetune {first_round.recipe} --labels {labels} {at}")
    assert (answer.document["run_id"], answer.document["already_done"]) == (checkpoint, True)
    assert f"evaluate {first_round.recipe} --checkpoint {checkpoint}" in answer.document["next"][0]


def test_a_model_is_promoted_listed_and_promoted_once(typed, first_round):
    _, checkpoint = _trained(first_round)
    Round(first_round.store, first_round.recipe, checkpoint=checkpoint).do("evaluate")
    line = (
        f"promote {first_round.recipe} --checkpoint {checkpoint} --model liver --store {first_round.store.url} --json"
    )
    assert typed(line).document["results"]["promoted"]
    assert typed(line).document["already_done"]
    listed = typed(f"model list --store {first_round.store.url} --json").document["models"]
    assert [(row["model"], row["champion"]) for row in listed] == [("liver", checkpoint)]


def test_the_second_round_looks_at_the_model_and_the_labels_of_the_first(first_round):
    labels, checkpoint = _trained(first_round)
    second = Round(first_round.store, first_round.recipe, checkpoint=checkpoint, labels=labels)
    second.do("score")
    chosen = second.do("select")
    assert chosen.inputs["labels"] == labels
    assert chosen.run_id != first_round.chain.select().run.run_id
    assert second.chain.command("label publish").split()[4:8] == ["--checkpoint", checkpoint, "--labels", labels]


@pytest.mark.parametrize(
    ("option", "what"), [("--checkpoint 0123456789ab", "checkpoint"), ("--labels 0123456789ab", "label set")]
)
def test_an_id_that_is_not_there_is_answered_with_what_there_is(option, what, typed, store, recipe):
    answer = typed(f"select {recipe} {option} --store {store.url}")
    assert answer.code == 2
    assert f"No {what} is called '0123456789ab'. Known: none yet." in answer.err


def test_an_ingest_that_is_not_there_is_refused(typed, store, recipe):
    answer = typed(f"pool {recipe} --ingest 0123456789ab --store {store.url}")
    assert answer.code == 2
    assert "0123456789ab" in answer.err


def test_a_wrong_profile_is_answered_with_the_likely_one(typed, store, recipe):
    answer = typed(f"pool {recipe} --on locl --store {store.url}")
    assert answer.code == 2
    assert "Did you mean 'local'?" in answer.err


def test_people_see_the_run_and_what_it_found(typed, first_round):
    manifest = first_round.do("pool")
    out = typed(f"pool {first_round.recipe} --store {first_round.store.url}").out
    assert f"pool {manifest.run_id}: already done" in out
    assert f"num_candidates: {manifest.results['num_candidates']}" in out
    assert out.rstrip().splitlines()[-1].strip().startswith("hilum score")


def test_a_step_that_is_done_starts_no_ray_and_one_that_is_not_says_where_it_looked(typed_without_ray, first_round):
    at = f"{first_round.recipe} --store {first_round.store.url}"
    first_round.do("pool")
    assert typed_without_ray(f"pool {at}").code == 0
    answer = typed_without_ray(f"score {at}")
    assert answer.code == 2
    assert "No Ray cluster answers at '127.0.0.1:9'" in answer.err
