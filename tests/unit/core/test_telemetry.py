"""What is exported: names Prometheus takes, labels that stay few, nothing about people."""

import re

import pytest

from hilum.core.telemetry import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}
ABOUT_PEOPLE = {"patient", "patient_id", "study", "study_id", "volume", "volume_id", "candidate", "annotator"}
UNBOUNDED = {"run", "run_id", "checkpoint", "path", "url", "selection"}


def test_no_two_metrics_share_a_name():
    assert len(BY_NAME) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_name_is_one_that_prometheus_takes_and_says_whose_it_is(metric):
    assert re.fullmatch(r"hilum_[a-z][a-z0-9_]*", metric.name)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in metric.labels)
    assert not metric.name.endswith(("_bucket", "_count", "_sum")), "histograms make these themselves"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_counters_and_only_counters_end_in_total(metric):
    assert metric.name.endswith("_total") == (metric.kind == "counter")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_no_label_names_a_person_or_grows_without_bound(metric):
    assert not set(metric.labels) & (ABOUT_PEOPLE | UNBOUNDED)
    assert len(set(metric.labels)) == len(metric.labels) <= 3


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_help_is_one_sentence(metric):
    assert metric.help[0].isupper()
    assert metric.help.endswith(".")
    assert "\n" not in metric.help


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_times_are_in_seconds_and_sizes_in_bytes(metric):
    assert not re.search(r"_(ms|milliseconds|minutes|hours|days|kb|mb|gb|percent)(_|$)", metric.name)


def test_a_time_since_1970_says_so():
    moments = [metric for metric in METRICS if "since 1970" in metric.help]
    assert moments
    assert all(metric.name.endswith("_timestamp_seconds") for metric in moments)


def test_every_process_tells_something():
    assert {metric.told_by for metric in METRICS} == {"control", "inference", "bridge"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_buckets_ascend(metric):
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_a_metric_cannot_be_changed_once_declared():
    with pytest.raises(AttributeError):
        METRICS[0].name = "other"
