"""Every metric as a page of documentation: `python -m hilum.cli.metrics_reference > platform/docs/metrics.md`."""

import sys

from hilum.core.telemetry import METRICS, Metric, Process

HEADER = """# Metrics

<!-- Written by `python -m hilum.cli.metrics_reference`; change `hilum.core.telemetry`, not this page. -->

What hilum tells whoever watches, by its Prometheus name ([how to scrape it](guide/monitoring.md)). Labels are bounded:
never a patient, a study or a candidate. A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`.
"""

_PROCESSES: dict[Process, str] = {
    "control": "Told by `hilum metrics`",
    "inference": "Told by `hilum serve`",
    "bridge": "Told by `hilum bridge`",
}
_TABLE = "| metric | kind | labels | is |\n|---|---|---|---|"
_ON_RAY = (
    "On Ray Serve every node's own exporter tells these, with `ray_` before the name; else `/metrics` of the process.\n"
)


def metrics_page() -> str:
    """The table of every process, as Markdown."""
    sections = [HEADER]
    for process, title in _PROCESSES.items():
        rows = [_row(metric) for metric in METRICS if metric.told_by == process]
        before = [_ON_RAY] if process == "inference" else []
        sections.append("\n".join([f"## {title}", "", *before, _TABLE, *rows, ""]))
    return "\n".join(sections)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
