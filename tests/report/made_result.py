"""Results of evaluations made by hand, with the figures that a test names."""

from collections.abc import Mapping
from typing import Any

from calm_ft.metrics.registry import FIGURES
from calm_ft.report.result import Difference, EvaluationResult, MetricSummary, SystemSummary

NUM_CLIPS = 8


def figure(name: str, mean: float | None, half: float = 0.1) -> MetricSummary:
    """A figure of the registry with an interval of `half` to each side."""
    known = FIGURES[name]
    ends = (None, None) if mean is None else (mean - half, mean + half)
    return MetricSummary(
        mean=mean, median=mean, low=ends[0], high=ends[1], n=NUM_CLIPS, unit=known.unit, direction=known.direction
    )


def system(figures: Mapping[str, float | None], **counts: int) -> SystemSummary:
    """A system with these means; `counts` are its runaway, silent and truncated clips."""
    counted = {"utterances": NUM_CLIPS, "runaway": 0, "silent": 0, "truncated": 0} | counts
    return SystemSummary(metrics={name: figure(name, mean) for name, mean in figures.items()}, counts=counted)


def change(mean: float, half: float, better: bool | None, doubt: str | None = None, n: int = NUM_CLIPS) -> Difference:
    """A paired difference from the base."""
    return Difference(mean=mean, low=mean - half, high=mean + half, n=n, better=better, doubt=doubt)


def result(**more: Any) -> EvaluationResult:
    """A tuned model that reads better than its base, sounds no more like the voice, and is longer."""
    content: dict[str, Any] = {
        "run": "runs/demo",
        "systems": {
            "reference": system({"wer": 0.05, "speaker_similarity_resemblyzer": 0.9, "duration_ratio": 1.0}),
            "base": system({"wer": 0.30, "speaker_similarity_resemblyzer": 0.7, "duration_ratio": 1.0, "mcd_db": 8.0}),
            "tuned": system({"wer": 0.18, "speaker_similarity_resemblyzer": 0.7, "duration_ratio": 1.3, "mcd_db": 9.0}),
        },
        "against_base": {
            "tuned": {
                "wer": change(-0.12, 0.05, better=True),
                "speaker_similarity_resemblyzer": change(0.0, 0.1, better=False),
                "mcd_db": change(1.0, 0.2, better=False),
            }
        },
    }
    return EvaluationResult.model_validate(content | more)
