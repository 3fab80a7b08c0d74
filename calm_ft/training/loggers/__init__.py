"""Where figures, audio and pictures go: `metrics.csv` in every run, and the trackers that the configuration names.

One file for each tracker; `tracker` holds what they have in common.
"""

from calm_ft.training.loggers.metrics_csv import CsvOnly, LoggerSettings, MetricsCsv, ResumedLogs
from calm_ft.training.loggers.tensorboard_tracker import TensorBoardSettings
from calm_ft.training.loggers.tracker import (
    StepsDone,
    Tracker,
    finish,
    log_export,
    log_media,
    log_sentences,
    log_summary,
    restore_sentences,
    tracker_ids,
)
from calm_ft.training.loggers.wandb_tracker import WandbSettings

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
