"""Every metric hilum exports, declared once. Labels are bounded; never a patient, study or candidate."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One exported series: Prometheus name, kind, labels and help."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


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
)
