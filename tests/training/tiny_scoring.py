"""Scoring of two sentences with the metrics that take no time to load."""

import torch
from calm_ft.evaluation.judge import Recording
from calm_ft.training.scoring import Scoring

from calm_ft.config import ASSETS
from calm_ft.data.audio import load_clip
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.training.settings import ScoringSettings

RATE_HZ = 16_000  # the embedded model's
EVERY_TWO = ScoringSettings(
    every_n_steps=2, num_scored_sentences=2, max_time_share=1.0, asr="auto", opinion_scores=False
)


def scoring_of(clips: list[EncodedUtterance], settings: ScoringSettings = EVERY_TWO) -> Scoring:
    """The first four clips are held out."""
    recordings = [Recording(each.utterance.text, load_clip(each.utterance, RATE_HZ, 0.2).samples) for each in clips[:4]]
    return Scoring(recordings, torch.as_tensor(recordings[0].audio), RATE_HZ, settings, str(ASSETS / "nano"))
