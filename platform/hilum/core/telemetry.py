"""Every metric hilum exports, declared once. Labels are bounded; never a patient, study or candidate."""

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_WINDOWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


@dataclass(frozen=True)
class Metric:
    """One exported series: Prometheus name, kind, labels and help; of a histogram, the upper ends of its buckets."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS


METRICS: tuple[Metric, ...] = (
    Metric("hilum_step_seconds", "histogram", "Wall time of one step.", ("step",)),
    Metric("hilum_ingest_volumes_total", "counter", "Volumes ingested."),
    Metric("hilum_ingest_quarantined_total", "counter", "Inputs refused at ingest."),
    Metric("hilum_score_candidates_total", "counter", "Candidates scored."),
    Metric("hilum_finetune_wait_share", "gauge", "Share of a training's time that went by waiting for data."),
    Metric("hilum_publish_tasks_total", "counter", "Tasks put before annotators.", ("campaign",)),
    Metric("hilum_collect_annotations_total", "counter", "Answers accepted.", ("campaign",)),
    Metric("hilum_campaign_round", "gauge", "Round in progress.", ("campaign",)),
    Metric("hilum_campaign_metric", "gauge", "The champion's validation metric.", ("campaign",)),
    Metric("hilum_inference_requests_total", "counter", "Requests, by their status.", ("verb", "model", "status")),
    Metric("hilum_inference_seconds", "histogram", "Time of a good request's stages.", ("verb", "stage")),
    Metric("hilum_inference_batch_windows", "histogram", "Windows that went through a network together.", (), _WINDOWS),
    Metric("hilum_inference_batch_images", "histogram", "Images whose windows these were.", (), _WINDOWS),
    Metric("hilum_inference_waiting_images", "gauge", "Images that wait for an answer."),
    Metric(
        "hilum_inference_shallower_total",
        "counter",
        "Requests that were given a shallower depth because many images waited.",
        ("model", "quality"),
    ),
    Metric(
        "hilum_inference_uncertainty",
        "histogram",
        "Mean entropy of answers as a share of the largest.",
        ("model", "version"),
        _SHARES,
    ),
    Metric(
        "hilum_inference_unlike_total", "counter", "Images unlike those that the model knows.", ("model", "version")
    ),
    Metric(
        "hilum_inference_shadow_agreement",
        "histogram",
        "Dice, or the same class, of the answer and its shadow's.",
        ("model", "version"),
        _SHARES,
    ),
    Metric("hilum_inference_drift", "gauge", "Population stability index against the calibration.", ("model", "of")),
)
