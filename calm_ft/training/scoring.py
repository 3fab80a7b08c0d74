"""Scoring a few spoken sentences as `scripts/evaluate.py` does: the same metrics, one clip a sentence, their means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from calm_ft.errors import UserError
from calm_ft.evaluation.judge import Recording
from calm_ft.evaluation.protocol import REFERENCE, Scored, Spoken, recorded, score
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.evaluation.summary import FLAGS
from calm_ft.metrics.recognisers import EMBEDDED_ASR, choose_recogniser, is_embedded
from calm_ft.metrics.registry import available_metrics
from calm_ft.training.settings import ScoringSettings


@dataclass(frozen=True)
class Evaluated:
    """Scored clips; `means`: over the sentences that have the figure; `counts`: of how many that is.

    A figure that no sentence has is in `missing` with the reason, and nowhere else.
    """

    clips: list[Scored]
    means: dict[str, float]
    counts: dict[str, int]
    missing: dict[str, str]


class Scoring:
    """Metrics of a run's held-out sentences; clips are scored against the recordings of the first few."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        prompt: Tensor,
        sample_rate_hz: int,
        settings: ScoringSettings,
        model: str | None,
    ) -> None:
        """Load all metrics that can be had.

        Args:
            recordings: of all held-out sentences, among which the right one is to be identified.
            prompt: the recording [T] that the model is prompted with.
            model: what the run was given as its model, by which `asr=auto` chooses.

        Raises UserError where the embedded recogniser is asked for another model than the embedded one.
        """
        if settings.asr == EMBEDDED_ASR and not is_embedded(model):
            raise UserError(
                "evaluation.asr=embedded knows the embedded model's synthetic speech alone, so its error rates of "
                "another model mean nothing: choose auto, none, a recogniser of the hub, or a folder."
            )
        audio = {each.text: np.asarray(each.audio) for each in recordings}
        asr = choose_recogniser(settings.asr, model)
        available = available_metrics(audio, np.asarray(prompt), sample_rate_hz, asr, settings.opinion_scores)
        self.metrics = available.metrics
        self.missing = available.missing
        self.names = [figure.name for figure in available.figures] + list(FLAGS)
        self.texts = [each.text for each in recordings[: settings.num_scored_sentences]]
        self._references = {
            index: recorded(REFERENCE, index, text, audio[text], sample_rate_hz)
            for index, text in enumerate(self.texts)
        }

    def references(self) -> Evaluated:
        """The true recordings themselves: what each metric makes of them is its own error."""
        return self.score(list(self._references.values()))

    def score(self, spoken: Sequence[Spoken]) -> Evaluated:
        """Measure clips of the first sentences; no bar, for there may be one of the training."""
        clips = score(spoken, self._references, self.metrics, {}, ScoreCache(), progress=False)
        values = {name: _values(clips, name) for name in self.names}
        measured = {name: found for name, found in values.items() if found}
        missing = {name: _reason(clips, name) for name in values if name not in measured}
        return Evaluated(
            clips,
            {name: float(np.mean(found)) for name, found in measured.items()},
            {name: len(found) for name, found in measured.items()},
            missing,
        )


def figures_of(scored: Scored) -> Mapping[str, float | None]:
    """One clip's figures, what went wrong with it among them as 0 or 1."""
    return {**scored.metrics, **{flag: float(scored.flags[flag]) for flag in FLAGS}}


def _values(clips: Sequence[Scored], name: str) -> list[float]:
    return [value for value in (figures_of(each).get(name) for each in clips) if value is not None]


def _reason(clips: Sequence[Scored], name: str) -> str:
    return next((each.missing[name] for each in clips if name in each.missing), "no sentence was spoken")
