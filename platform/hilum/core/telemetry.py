"""Every metric hilum exports, declared once. Labels are bounded; never a patient, study or candidate.

Three processes tell them: the control exporter (`hilum metrics`) what stands in store and ledger, the inference
service and the bridge what they are asked. People are told apart by a number in their campaign, never by a name.
"""

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_WINDOWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_LONG = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0)

Kind = Literal["counter", "gauge", "histogram"]
Process = Literal["control", "inference", "bridge"]


@dataclass(frozen=True)
class Metric:
    """One exported series: Prometheus name, kind, labels and help; of a histogram, the upper ends of its buckets."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS

    @property
    def told_by(self) -> Process:
        """The process that tells it."""
        word = self.name.split("_")[1]
        # Jobs lie in the store: whichever replica took one, the store knows how long it has waited.
        if word == "inference" and not self.name.startswith("hilum_inference_job"):
            return "inference"
        return "bridge" if word == "bridge" else "control"


_CAMPAIGN = ("campaign",)

METRICS: tuple[Metric, ...] = (
    # The exporter itself, and what it looks at.
    Metric("hilum_control_looked_timestamp_seconds", "gauge", "When it last looked, since 1970.", ("look",)),
    Metric("hilum_control_look_seconds", "gauge", "How long the last look took.", ("look",)),
    Metric("hilum_control_errors_total", "counter", "Looks that failed, by what was looked at.", ("what",)),
    Metric("hilum_control_campaigns_left_out", "gauge", "Campaigns too many to tell of each."),
    Metric("hilum_store_up", "gauge", "Is 1 if the store can be read."),
    Metric("hilum_ledger_up", "gauge", "Is 1 if the ledger answers."),
    Metric("hilum_store_free_bytes", "gauge", "Bytes free on the store's disk; not told of object storage."),
    Metric("hilum_store_size_bytes", "gauge", "Size of the store's disk; not told of object storage."),
    # Steps.
    Metric("hilum_step_seconds", "histogram", "Wall time of one step of a campaign.", ("step",), _LONG),
    Metric("hilum_ingest_volumes_total", "counter", "Volumes ingested."),
    Metric("hilum_ingest_quarantined_total", "counter", "Inputs refused at ingest."),
    Metric("hilum_score_candidates_total", "counter", "Candidates scored.", _CAMPAIGN),
    Metric("hilum_score_quarantined_total", "counter", "Candidates that could not be scored.", _CAMPAIGN),
    Metric("hilum_publish_tasks_total", "counter", "Tasks put before annotators.", _CAMPAIGN),
    Metric("hilum_collect_annotations_total", "counter", "Answers accepted.", _CAMPAIGN),
    Metric("hilum_finetune_progress", "gauge", "Share of the newest training's steps that are done.", _CAMPAIGN),
    Metric("hilum_finetune_loss", "gauge", "Last loss of the newest training.", _CAMPAIGN),
    Metric(
        "hilum_finetune_wait_share", "gauge", "Share of a training's time that went by waiting for data.", _CAMPAIGN
    ),
    Metric("hilum_finetune_step_seconds", "gauge", "Mean time of a step of the last finished training.", _CAMPAIGN),
    # Campaigns.
    Metric("hilum_campaign_round", "gauge", "Round in progress, from 0.", _CAMPAIGN),
    Metric(
        "hilum_campaign_stage", "gauge", "Is 1 at the stage that was reached, 0 at the others.", ("campaign", "stage")
    ),
    Metric("hilum_campaign_finished", "gauge", "Is 1 if it asks nobody any more.", _CAMPAIGN),
    Metric("hilum_campaign_broken", "gauge", "Is 1 if store and ledger do not say where it is.", _CAMPAIGN),
    Metric("hilum_campaign_worked_on", "gauge", "Is 1 if a process holds its lease.", _CAMPAIGN),
    Metric("hilum_campaign_attempts_total", "counter", "Processes seen at work on it.", _CAMPAIGN),
    Metric("hilum_campaign_moved_timestamp_seconds", "gauge", "When its last move was made, since 1970.", _CAMPAIGN),
    Metric("hilum_campaign_running", "gauge", "Is 1 at the step that is running.", ("campaign", "step")),
    Metric("hilum_campaign_last_step_seconds", "gauge", "Wall time of a step, last time.", ("campaign", "step")),
    Metric("hilum_campaign_step_seconds_total", "counter", "Wall time of a step, in all.", ("campaign", "step")),
    Metric("hilum_campaign_pool_candidates", "gauge", "Candidates in its pool.", _CAMPAIGN),
    Metric("hilum_campaign_cost_spent", "gauge", "Budget spent: questions, people's seconds.", ("campaign", "unit")),
    Metric("hilum_campaign_cost_left", "gauge", "Budget left: questions, people's seconds.", ("campaign", "unit")),
    Metric("hilum_campaign_champion", "gauge", "Is 1 if it has a champion.", _CAMPAIGN),
    Metric("hilum_campaign_metric", "gauge", "The champion's validation metric.", ("campaign", "metric")),
    Metric("hilum_campaign_challenger_metric", "gauge", "The newest model's on validation.", ("campaign", "metric")),
    Metric(
        "hilum_campaign_class_metric",
        "gauge",
        "The newest model's metric of one class, on validation.",
        ("campaign", "metric", "class"),
    ),
    # People.
    Metric("hilum_annotators_waiting", "gauge", "Tasks before annotators without an answer.", _CAMPAIGN),
    Metric("hilum_annotators_waiting_seconds", "gauge", "Age of the round that waits for answers; 0: none.", _CAMPAIGN),
    Metric("hilum_annotators_up", "gauge", "Is 1 if where people answer could be asked.", _CAMPAIGN),
    Metric("hilum_annotators_agreement", "gauge", "How far people agree: kappa, or mean Dice.", _CAMPAIGN),
    Metric("hilum_annotator_answers_total", "counter", "Answers, by a person's number.", ("campaign", "person")),
    Metric("hilum_annotator_seconds_total", "counter", "Time told, by a person's number.", ("campaign", "person")),
    Metric("hilum_annotator_agreement", "gauge", "One person's with the others.", ("campaign", "person")),
    # Simulations, models and jobs.
    Metric(
        "hilum_simulation_labels_share",
        "gauge",
        "Labels needed to reach random's final score, as a share of random's.",
        ("simulation", "strategy"),
    ),
    Metric(
        "hilum_simulation_gain",
        "gauge",
        "Area under the learning curve above random's, mean over seeds.",
        ("simulation", "strategy"),
    ),
    Metric("hilum_model_alias", "gauge", "Is 1 where a model's alias points at a checkpoint.", ("model", "alias")),
    Metric("hilum_inference_jobs", "gauge", "Images that are answered later, by how far they are.", ("status",)),
    Metric("hilum_inference_job_waiting_seconds", "gauge", "Age of the oldest job that is not over; 0: none."),
    # What the inference service is asked.
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
    # What the bridge is asked.
    Metric("hilum_bridge_requests_total", "counter", "Requests, by what they are about.", ("route", "status")),
    Metric("hilum_bridge_seconds", "histogram", "Time of a request.", ("route",)),
)
