"""Answered candidates are asked again, of somebody else, and what all agree on is learned."""

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.cli.why import lines_of
from hilum.core.asking import Chosen, Task
from hilum.core.errors import RecipeError
from hilum.core.recipes import ArmRecipe, BudgetRecipe, Choice, CostRecipe, RelabelRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.loop.branches import full_recipe, random_recipe
from hilum.loop.campaign import Campaign
from hilum.loop.choices import check_choices
from hilum.loop.events import history, runs_of
from hilum.loop.why import why
from hilum.steps import finetune, select
from hilum.store.labels import read_answers, read_everybodys_answers
from hilum.store.ledger import open_ledger
from hilum.store.manifest import read_manifest
from hilum.store.selections import read_selection
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

ARMS = (
    ArmRecipe(share=0.5, sampler=Choice(kind="top_k", score="entropy")),
    ArmRecipe(share=0.5, sampler=Choice(kind="random")),
)
PEOPLE = {"annotators": 3, "error_rate": 0.3, "seconds_per_answer": 4.0}


def recipe_for(question, *, num_rounds=3, num_per_round=10, share=0.4, num_steps=2, **changes):
    recipe = tiny_recipe(question)
    learner = {"num_steps": num_steps, "batch_size": 12, "learning_rate": 1e-2, "checkpoint_every": num_steps}
    relabel = {"share": share, "max_annotators": 3, **changes}
    return recipe.model_copy(
        update={
            "select": SelectRecipe(arms=ARMS, relabel=RelabelRecipe(**relabel)),
            "annotator": Choice(kind="oracle", **PEOPLE),
            "finetune": recipe.finetune.model_copy(update=learner),
            "campaign": BudgetRecipe(num_per_round=num_per_round, num_in_total=num_per_round * num_rounds),
        }
    )


class Done:
    """A finished campaign on a phantom."""

    def __init__(self, folder, phantom, recipe):
        self.store, self.ingest_id = phantom_store(str(folder), phantom)
        self.recipe, self.phantom = recipe, phantom
        self.campaign = Campaign.create(self.store, "again", recipe, ledger=open_ledger(self.store))
        self.oracle = Oracle(self.store, self.ingest_id, **recipe.annotator.params)
        self.status = self.campaign.run(executor=InlineExecutor(), annotator=self.oracle)
        self.rounds = [runs_of(events) for events in history(self.store, "again")]
        self.labels = self.rounds[-1]["collect"]

    def chosen(self, number):
        return read_selection(self.store, self.rounds[number]["select"])

    def truth(self):
        """What an oracle that does not err says, by candidate."""
        everybodys = read_everybodys_answers(self.store, self.labels)
        one_of_each = [
            chosen.candidate for n in range(len(self.rounds)) for chosen in self.chosen(n) if not chosen.answered_by
        ]
        tasks = [
            Task("c0ffee000000", Chosen(one, 0, "", 0.0, ""), self.phantom.question, self.phantom.class_names)
            for one in one_of_each
        ]
        assert len(tasks) == len(everybodys)
        return {a.patch.candidate_id: a for a in Oracle(self.store, self.ingest_id).collect(tasks)}


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    return Done(tmp_path_factory.mktemp("classified"), Phantom("classify", num_frames=20), recipe_for("classify"))


@pytest.fixture(scope="module")
def outlined(tmp_path_factory):
    return Done(tmp_path_factory.mktemp("outlined"), Phantom("segment", num_frames=20), recipe_for("segment"))


@pytest.fixture(params=["classified", "outlined"])
def done(request):
    return request.getfixturevalue(request.param)


def test_its_share_of_every_round_that_has_a_model_is_asked_again_after_the_arms(done):
    assert [chosen.arm for chosen in done.chosen(0)] == ["random"] * 10
    for number in (1, 2):
        chosen = done.chosen(number)
        assert [one.rank for one in chosen] == list(range(10))
        assert [one.arm for one in chosen] == ["top_k"] * 3 + ["random"] * 3 + ["relabel"] * 4
        results = read_manifest(done.store.run("select", done.rounds[number]["select"])).results
        assert results["arms"] == {"top_k": 3, "random": 3, "relabel": 4}
        assert results["num_selected"] == 10


def test_whoever_has_answered_is_named_and_is_not_asked_again(done):
    told = set()
    for number in range(3):
        for chosen in done.chosen(number):
            before = {name for candidate_id, name in told if candidate_id == chosen.candidate.candidate_id}
            assert set(chosen.answered_by) == before
            assert bool(before) == (chosen.arm == "relabel")
        answers = read_everybodys_answers(done.store, done.rounds[number]["collect"])
        told = {(one, answer.annotator) for one, given in answers.items() for answer in given}
        assert len(told) == sum(map(len, answers.values())) == 10 * (number + 1)


def test_the_most_doubtful_are_asked_first(done):
    for number in (1, 2):
        scores = [chosen.score for chosen in done.chosen(number) if chosen.arm == "relabel"]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)


def test_everybodys_answers_stay_and_one_for_each_candidate_is_read_and_learned(done):
    everybodys = read_everybodys_answers(done.store, done.labels)
    answers = read_answers(done.store, done.labels)
    assert [answer.patch.candidate_id for answer in answers] == sorted(everybodys)
    several = [answer for answer in answers if len(everybodys[answer.patch.candidate_id]) > 1]
    assert several
    assert all(answer.revision == len(everybodys[answer.patch.candidate_id]) for answer in several)
    assert sum(map(len, everybodys.values())) == done.status.num_answered == 30
    assert len(finetune.usable_answers(done.store, done.labels)) == len(answers)
    trained = read_manifest(done.store.run("finetune", done.rounds[-1]["finetune"])).results["reuse"]
    assert trained["num_labels"] == len(answers)


def test_why_tells_of_both_times(done):
    again = next(chosen for chosen in done.chosen(1) if chosen.arm == "relabel")
    told = "\n".join(lines_of(why(done.store, again.candidate.candidate_id)))
    assert "campaign again, round 0: picked by random" in told
    assert "campaign again, round 1: picked by relabel" in told
    measure = "ActiveLab doubt" if done.phantom.question == "classify" else "Dice of the outline and a model's"
    assert measure in again.reason
    assert f"answered by {again.answered_by[0]}" in again.reason
    assert "trained with this answer" in again.reason  # no model had scored the first round's


def test_later_rounds_are_judged_by_a_model_that_had_not_seen_the_answer(done):
    asked_second = {chosen.candidate.candidate_id for chosen in done.chosen(1) if not chosen.answered_by}
    recipe = done.recipe.select.model_copy(update={"num": 30, "relabel": RelabelRecipe(share=0.8)})
    inputs = {noun: done.rounds[-1][noun] for noun in ("score", "pool")} | {"labels": done.rounds[1]["collect"]}
    run = select.run(recipe, inputs, store=done.store, executor=InlineExecutor(), resources=Resources())
    again = [chosen for chosen in read_selection(done.store, run.run_id) if chosen.arm == "relabel"]
    reasons = [chosen.reason for chosen in again if chosen.candidate.candidate_id in asked_second]
    assert reasons
    assert all("trained without this answer" in reason for reason in reasons)


def test_people_are_told_apart_by_how_much_they_answer_and_agree(done):
    people = done.campaign.people()
    assert [person.annotator for person in people] == ["oracle-1", "oracle-2", "oracle-3"]
    assert sum(person.num_answers for person in people) == 30
    assert all(person.median_seconds == 4.0 for person in people)
    assert any(person.num_shared for person in people)
    assert all(-1 <= person.agreement <= 1 for person in people if person.agreement is not None)


def test_asking_again_makes_noisy_labels_better(tmp_path):
    recipe = recipe_for("classify", num_rounds=6, num_per_round=16, share=0.5, num_steps=30)
    done = Done(tmp_path, Phantom("classify", num_frames=30), recipe)
    truth, everybodys = done.truth(), read_everybodys_answers(done.store, done.labels)
    agreed = {answer.patch.candidate_id: answer for answer in read_answers(done.store, done.labels)}
    again = [one for one, answers in everybodys.items() if len(answers) > 1]
    first = np.array([everybodys[one][0].class_id == truth[one].class_id for one in agreed])
    now = np.array([agreed[one].class_id == truth[one].class_id for one in agreed])
    is_again = np.array([one in again for one in agreed])
    print(f"right: first answers {first.mean():.3f}, agreed {now.mean():.3f}; asked again {is_again.sum()} of")
    print(
        f"{len(agreed)}: {first[is_again].mean():.3f}, {now[is_again].mean():.3f}; others {first[~is_again].mean():.3f}"
    )
    assert now.mean() > first.mean() + 0.05
    assert first[is_again].mean() < first[~is_again].mean()  # those that were wrong are the ones that are asked again


def test_majority_outlines_are_nearer_to_the_truth_than_single_ones(tmp_path):
    recipe = recipe_for("segment", num_rounds=4, num_per_round=8, share=0.75)
    recipe = recipe.model_copy(update={"annotator": Choice(kind="oracle", annotators=3, error_rate=0.1)})
    done = Done(tmp_path, Phantom("segment", num_frames=12), recipe)
    truth, everybodys = done.truth(), read_everybodys_answers(done.store, done.labels)
    agreed = {answer.patch.candidate_id: answer for answer in read_answers(done.store, done.labels)}
    thrice = [one for one, answers in everybodys.items() if len(answers) == 3]
    assert thrice
    first = np.mean([everybodys[one][0].label_map_zyx == truth[one].label_map_zyx for one in thrice])
    now = np.mean([agreed[one].label_map_zyx == truth[one].label_map_zyx for one in thrice])
    print(f"right voxels of {len(thrice)} outlines: first {first:.3f}, agreed {now:.3f}")
    # Each errs at a tenth of the voxels, and the noisiest outlines are asked about again.
    assert now > first + 0.05


def test_seconds_of_those_who_are_asked_again_are_predicted_and_counted(classified):
    changes = {"cost": CostRecipe(opening_seconds=4, seconds_per_slice=1), "max_seconds": 40.0, "num": 20}
    inputs = {noun: classified.rounds[-1][noun] for noun in ("score", "pool")} | {"labels": classified.labels}
    recipe = classified.recipe.select.model_copy(update=changes)
    run = select.run(recipe, inputs, store=classified.store, executor=InlineExecutor(), resources=Resources())
    chosen = read_selection(classified.store, run.run_id)
    again = [one for one in chosen if one.arm == "relabel"]
    assert again
    assert all(one.predicted_seconds > 0 and " s" in one.reason for one in again)
    assert sum(one.predicted_seconds for one in again) <= 0.4 * 40
    assert run.results["predicted_seconds"] == pytest.approx(sum(one.predicted_seconds for one in chosen))
    assert run.results["predicted_seconds"] <= 40


def test_nobody_excluded_is_asked_again(classified):
    patients = {chosen.candidate.patient_id for n in range(3) for chosen in classified.chosen(n)}
    recipe = classified.recipe.select.model_copy(update={"exclude": tuple(sorted(patients)[:1]), "num": 40})
    inputs = {noun: classified.rounds[-1][noun] for noun in ("score", "pool")} | {"labels": classified.labels}
    run = select.run(recipe, inputs, store=classified.store, executor=InlineExecutor(), resources=Resources())
    asked = {chosen.candidate.patient_id for chosen in read_selection(classified.store, run.run_id)}
    assert sorted(patients)[0] not in asked


def test_yardsticks_ask_everybody_once():
    recipe = recipe_for("classify")
    assert random_recipe(recipe).select.relabel is None
    assert full_recipe(recipe, 60).select.relabel is None


def test_an_oracle_of_too_few_annotators_is_refused_before_anybody_is_asked():
    recipe = recipe_for("classify")
    check_choices(recipe)
    with pytest.raises(RecipeError, match="asks up to 3 people about one candidate, and the oracle is 1"):
        check_choices(recipe.model_copy(update={"annotator": Choice(kind="oracle")}))


@pytest.mark.parametrize(("question", "consensus"), [("classify", "staple"), ("segment", "crowdlab")])
def test_a_consensus_of_the_other_question_is_refused(question, consensus):
    content = recipe_for(question).model_dump(mode="json", by_alias=True)
    content["select"]["relabel"]["consensus"] = consensus
    with pytest.raises(ValueError, match=f"consensus '{consensus}' is not for question '{question}'"):
        type(recipe_for(question)).model_validate(content)


def test_a_share_of_nothing_or_of_all_is_refused():
    for share in (0, 1):
        with pytest.raises(ValueError, match="share"):
            RelabelRecipe(share=share)
