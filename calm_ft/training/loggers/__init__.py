"""Where figures, audio and pictures go: `metrics.csv` in every run, and the trackers that the configuration names.

One file a tracker; `tracker` holds what they have in common.
"""

from calm_ft.training.callbacks.steps_done import StepsDone
from calm_ft.training.loggers.choices import CsvOnly, LoggerSettings, ResumedLogs, TensorBoardSettings, WandbSettings
from calm_ft.training.loggers.metrics_csv import MetricsCsv
from calm_ft.training.loggers.tracker import (
    Tracker,
    finish,
    log_export,
    log_media,
    log_sentences,
    log_summary,
    restore_sentences,
    tracker_ids,
)

__all__ = [
    "CsvOnly",
    "LoggerSettings",
    "MetricsCsv",
    "ResumedLogs",
    "StepsDone",
    "TensorBoardSettings",
    "Tracker",
    "WandbSettings",
    "finish",
    "log_export",
    "log_media",
    "log_sentences",
    "log_summary",
    "restore_sentences",
    "tracker_ids",
]
