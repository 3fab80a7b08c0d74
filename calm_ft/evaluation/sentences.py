"""Which sentences are said: a fixed choice that decodes only what it uses."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.utterance import Exclusion, Utterance
from calm_ft.errors import UserError

TAIL_SEC = 0.2

UtteranceT = TypeVar("UtteranceT", bound=Utterance)


def choose_sentences(utterances: Sequence[UtteranceT], num_sentences: int, seed: int) -> list[UtteranceT]:
    """A fixed choice of held-out utterances, each text once, the smallest hash of (seed, text) first.

    Not the first ones of the list, for lists are often sorted. A smaller choice is the beginning of a larger one, so
    that an evaluation of more sentences takes over what one of fewer said.
    """
    by_text = {utterance.text: utterance for utterance in reversed(utterances)}
    ranked = sorted(by_text, key=lambda text: hashlib.sha256(f"{seed}:{text}".encode()).digest())
    return [by_text[text] for text in ranked[:num_sentences]]


@dataclass(frozen=True)
class ChosenClips:
    """Chosen utterances with their recordings [T], and those that were passed over because they cannot be used."""

    utterances: list[Utterance]
    recordings: list[Tensor]
    excluded: list[Exclusion]

    @property
    def texts(self) -> list[str]:
        """What they say."""
        return [each.text for each in self.utterances]


def choose_usable(found: Sequence[Utterance], adapter: TTSAdapter, num_sentences: int, seed: int) -> ChosenClips:
    """At most `num_sentences` in the adapter's language; others take the places of those that are broken.

    Only the chosen are decoded.
    """
    in_language = [each for each in found if adapter.language_of(each) == adapter.language]
    foreign = _foreign(found, adapter)
    recordings: dict[str, Tensor] = {}
    excluded: dict[str, Exclusion] = {}
    while True:
        chosen = choose_sentences([each for each in in_language if each.id not in excluded], num_sentences, seed)
        new = [each for each in chosen if each.id not in recordings]
        for utterance in new:
            try:
                adapter.check_text(utterance.text)
                recordings[utterance.id] = load_clip(utterance, adapter.sample_rate_hz, TAIL_SEC).samples
            except (UserError, UnusableClip) as error:
                excluded[utterance.id] = Exclusion(str(utterance.audio_path), str(error))
        if all(each.id in recordings for each in chosen):
            return ChosenClips(chosen, [recordings[each.id] for each in chosen], [*foreign, *excluded.values()])


def _foreign(found: Sequence[Utterance], adapter: TTSAdapter) -> list[Exclusion]:
    """One row for all recordings that are in other languages than the adapter's."""
    languages = [adapter.language_of(each) for each in found]
    others = sorted(set(languages) - {adapter.language})
    if not others:
        return []
    count = sum(language in others for language in languages)
    reason = f"they are in {', '.join(others)}, and sentences are spoken in adapter.language={adapter.language} alone"
    return [Exclusion(f"{count} recordings", reason)]


def load_recording(utterance: Utterance, sample_rate_hz: int) -> Tensor:
    """A recording [T] as it is judged by. Raises UserError where it cannot be used."""
    try:
        return load_clip(utterance, sample_rate_hz, TAIL_SEC).samples
    except UnusableClip as error:
        raise UserError(f"{utterance.audio_path} cannot be used for the evaluation: {error}.") from error
