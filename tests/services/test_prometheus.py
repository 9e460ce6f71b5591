"""A real Prometheus at a platform that runs: every metric has a series, every panel shows something, no alert errs."""

import re
import time

import pytest
from tests.services.own_prometheus import DASHBOARDS, expressions, filled, prometheus, until
from tests.services.own_server import CLIENT
from tests.services.watched_platform import Platform

from hilum.core.telemetry import METRICS
from hilum.store.labels import read_everybodys_answers

pytestmark = pytest.mark.timeout(600)  # a whole platform is set up

BY_NAME = {metric.name: metric for metric in METRICS}
OF_PROMETHEUS = {"__name__", "instance", "job", "le"}

NOT_HERE = {"hilum_inference_shallower_total": "a nested network that is asked too much: see test_inference_shedding"}
"""Metrics that have no series at this platform, and why."""

MAY_BE_EMPTY = {
    "Steps that run now": "nobody works on a campaign while the test looks",
    "Scored": "its second query is of candidates that could not be scored: every phantom can be read",
    "Not answered": "every request was answered",
}
"""Panels of which a query shows nothing here, and why that is right."""

MAY_HOLD = {
    "HilumStoreAlmostFull": "how full this machine's disk is, is not ours to say",
    "HilumInferenceShadowDisagrees": "the shadow is another round's model, and answers otherwise",
}
"""Alerts whose expression may be true of this platform, and why that is right."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The platform, and a Prometheus that has scraped it before, while and after it was asked."""
    folder = tmp_path_factory.mktemp("platform")
    platform = Platform(folder)
    platform.run_campaigns()
    platform.run_simulation()
    asking, watching = platform.new_key("viewer", "predict", "read"), platform.new_key("prometheus", "metrics")
    with platform.running():
        targets = {job: (url, watching) for job, url in platform.urls.items()}
        with prometheus(folder, targets) as server:
            until(lambda: set(server.targets().values()) == {"up"}, "all targets are up")
            # Once before a rate is asked for: a counter's first value is no rise.
            platform.ask(asking, num=1)
            platform.annotate()
            time.sleep(3)
            platform.ask(asking)
            platform.annotate(first=100)
            until(lambda: server.query("hilum_inference_drift"), "drift is told")
            time.sleep(3)
            yield platform, server


def test_every_declared_metric_has_a_series(watched):
    _, server = watched
    names = {metric.name: f"{metric.name}_count" if metric.kind == "histogram" else metric.name for metric in METRICS}
    assert [name for name, series in names.items() if not server.query(series)] == list(NOT_HERE)


def test_every_series_is_declared_with_its_labels_and_told_by_its_process(watched):
    _, server = watched
    for labels, _ in server.query('{__name__=~"hilum_.+"}'):
        declared = BY_NAME[_declared(labels["__name__"])]
        assert set(labels) - OF_PROMETHEUS == set(declared.labels), labels
        assert labels["job"] == f"hilum-{declared.told_by}", labels


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_shows_something(watched, dashboard):
    _, server = watched
    empty = {title for title, expression, _ in expressions(dashboard) if not server.query(filled(expression))}
    assert empty <= set(MAY_BE_EMPTY)


def test_no_alert_is_wrong_about_a_healthy_platform(watched):
    _, server = watched
    rules = server.rules()
    assert len(rules) > 30
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["name"] not in MAY_HOLD and server.query(rule["query"])] == []


def test_numbers_are_those_of_the_store(watched):
    _, server = watched

    def value(expression):
        ((_, found),) = server.query(expression)
        return found

    assert value('hilum_campaign_round{campaign="liver"}') == 2
    assert value('hilum_campaign_finished{campaign="liver"}') == 1
    assert value('hilum_campaign_stage{campaign="lung",stage="published"}') == 1
    assert value('hilum_annotators_waiting{campaign="lung"}') == 5
    assert value('hilum_campaign_cost_left{campaign="lung",unit="questions"}') == 5
    assert value('hilum_publish_tasks_total{campaign="liver"}') == 36
    assert value('sum(hilum_annotator_answers_total{campaign="liver"})') == 36
    assert value('hilum_annotator_seconds_total{campaign="liver",person="1"}') == 4 * value(
        'hilum_annotator_answers_total{campaign="liver",person="1"}'
    )
    assert value("hilum_ingest_volumes_total") == 15
    assert value('sum(hilum_inference_requests_total{status="200"})') == 44
    assert value("sum(hilum_inference_jobs)") == 2
    assert 0 < value('hilum_simulation_labels_share{strategy="entropy"}') < 1
    assert value('hilum_bridge_requests_total{route="webhooks",status="200"}') == 10


def test_nobody_is_named(watched):
    platform, server = watched
    labels = (platform.store.url, "liver")
    collected = server.query('hilum_annotator_answers_total{campaign="liver"}')
    assert {found["person"] for found, _ in collected} == {"1", "2", "3"}
    from hilum.loop.campaign import Campaign

    rounds = Campaign.open(platform.store, labels[1], ledger=platform.ledger).status().history
    answers = read_everybodys_answers(platform.store, rounds[-1].runs["collect"])
    secrets = {one.annotator for each in answers.values() for one in each}
    secrets |= {one.patch.volume_id for each in answers.values() for one in each} | set(answers)
    values = {value for found, _ in server.query('{__name__=~"hilum_.+"}') for value in found.values()}
    assert len(secrets) > 20
    assert not secrets & values


def test_who_has_no_key_is_told_nothing(watched):
    platform, _ = watched
    paths = {"hilum-control": "/metrics", "hilum-bridge": "/metrics", "hilum-inference": "/metrics"}
    for job, path in paths.items():
        assert CLIENT.get(platform.urls[job] + path).status_code == 401
        wrong = CLIENT.get(platform.urls[job] + path, headers={"Authorization": "Bearer hilum_wrong"})
        assert (wrong.status_code, "hilum_" in wrong.text) == (401, False)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_what_is_declared(dashboard):
    for title, expression, _ in expressions(dashboard):
        assert {_declared(name) for name in re.findall(r"\bhilum_\w+", expression)} <= set(BY_NAME), title


def _declared(series):
    """The metric that a series is of: histograms have three."""
    if series in BY_NAME:
        return series
    name = re.sub(r"_(bucket|count|sum)$", "", series)
    return name if name in BY_NAME and BY_NAME[name].kind == "histogram" else series
