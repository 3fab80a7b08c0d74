"""Score what a system synthesized in one voice against that voice's own recordings of the same sentences.

Every synthesized clip is compared with the recording of its text (MCD, duration), with all recordings
(sentence identification) and with all voices (voice identification). Silent, empty and very short audio never
stops the judging: a silent clip says neither the sentence nor the voice, has no distortion and no duration
ratio, and is named in `silent_texts`. Look at that before the distortion: a system that falls silent on hard
sentences escapes it there.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calm_ft.evaluation.estimate import Estimate, estimate_over_sentences
from calm_ft.metrics.audio_io import AudioLike, trim_silence
from calm_ft.metrics.distortion import dtw_distortion, mel_cepstra
from calm_ft.metrics.identification import identify_sentence
from calm_ft.metrics.identification import VoiceReferences


@dataclass(frozen=True)
class Recording:
    """A true recording [T] and what it says."""

    text: str
    audio: AudioLike


@dataclass(frozen=True)
class Judged:
    """A synthesized clip [T], the text it should say, and whether the system itself ended it."""

    text: str
    audio: AudioLike
    ended: bool = True


@dataclass(frozen=True)
class VoiceScores:
    """Scores of one system in one voice, each a mean over sentences with its standard error.

    `mcd_db` and `duration_ratio` (synthesis / recording, silence at the ends cut off) leave silent clips out,
    the two identification rates count them as wrong. Chance is 1 / num_candidates and 1 / num_voices. Without
    other voices `voice_id` is None and `num_voices` 1.
    """

    mcd_db: Estimate
    sentence_id: Estimate
    voice_id: Estimate | None
    duration_ratio: Estimate
    num_clips: int
    num_sentences: int
    num_candidates: int
    num_voices: int
    not_ended_texts: tuple[str, ...]
    silent_texts: tuple[str, ...]

    @property
    def num_not_ended(self) -> int:
        return len(self.not_ended_texts)

    @property
    def num_silent(self) -> int:
        return len(self.silent_texts)

    def to_dict(self) -> dict[str, object]:
        """All fields and counts as plain values; figures may be NaN."""
        counts = {"num_not_ended": self.num_not_ended, "num_silent": self.num_silent}
        return dataclasses.asdict(self) | counts


def judge(
    synthesized: Sequence[Judged],
    references: Sequence[Recording],
    voices: Mapping[str, Sequence[AudioLike]] | VoiceReferences | None,
    true_voice: str,
    sample_rate_hz: int,
) -> VoiceScores:
    """Score synthesized clips, several of one text if need be, against recordings of their texts.

    `voices` holds several clips of each voice, `true_voice` among them (best: other recordings than
    `references`); a VoiceReferences measured before saves time when several systems are judged. None where no
    other voice is at hand: the voice is not identified then.

    Raises ValueError when nothing was synthesized, a text has no recording or two, a recording is silent, or
    the true voice is not among the voices.
    """
    if not synthesized:
        raise ValueError("there is nothing to judge: no clip was synthesized")
    known = _known_voices(voices, true_voice, sample_rate_hz)
    truths = _measure_references(references, sample_rate_hz)
    missing = [clip.text for clip in synthesized if clip.text not in truths]
    if missing:
        raise ValueError(f"no recording says what was synthesized: '{missing[0]}'")
    clips = [_judge_clip(clip, truths, known, true_voice, sample_rate_hz) for clip in synthesized]
    texts = [clip.text for clip in clips]
    measured = [(clip.text, clip.measure) for clip in clips if clip.measure is not None]
    audible_texts = [text for text, _ in measured]
    return VoiceScores(
        mcd_db=estimate_over_sentences(audible_texts, [measure.mcd_db for _, measure in measured]),
        sentence_id=estimate_over_sentences(texts, [float(clip.right_sentence) for clip in clips]),
        voice_id=None if known is None else estimate_over_sentences(texts, [float(clip.right_voice) for clip in clips]),
        duration_ratio=estimate_over_sentences(audible_texts, [measure.duration_ratio for _, measure in measured]),
        num_clips=len(clips),
        num_sentences=len(set(texts)),
        num_candidates=len(truths),
        num_voices=1 if known is None else len(known.names),
        not_ended_texts=tuple(clip.text for clip in synthesized if not clip.ended),
        silent_texts=tuple(clip.text for clip in clips if clip.measure is None),
    )


@dataclass(frozen=True)
class _Truth:
    """What is known of one recording: cepstra [F, 13] and its length without the silence at its ends."""

    cepstra: np.ndarray
    num_samples: int


@dataclass(frozen=True)
class _Measure:
    mcd_db: float
    duration_ratio: float


@dataclass(frozen=True)
class _ClipScores:
    text: str
    right_sentence: bool
    right_voice: bool
    measure: _Measure | None
    """None for a silent clip."""


def _known_voices(
    voices: Mapping[str, Sequence[AudioLike]] | VoiceReferences | None, true_voice: str, sample_rate_hz: int
) -> VoiceReferences | None:
    if voices is None:
        return None
    known = voices if isinstance(voices, VoiceReferences) else VoiceReferences.from_clips(voices, sample_rate_hz)
    if true_voice not in known.names:
        raise ValueError(f"the true voice '{true_voice}' is not among the voices: {', '.join(known.names)}")
    return known


def _measure_references(references: Sequence[Recording], sample_rate_hz: int) -> dict[str, _Truth]:
    truths: dict[str, _Truth] = {}
    for recording in references:
        if recording.text in truths:
            raise ValueError(f"two recordings say the same, so neither can be identified: '{recording.text}'")
        num_samples = trim_silence(recording.audio, sample_rate_hz).size
        if not num_samples:
            raise ValueError(f"the recording to judge against is silent: '{recording.text}'")
        truths[recording.text] = _Truth(mel_cepstra(recording.audio, sample_rate_hz), num_samples)
    return truths


def _judge_clip(
    clip: Judged,
    truths: Mapping[str, _Truth],
    known: VoiceReferences | None,
    true_voice: str,
    sample_rate_hz: int,
) -> _ClipScores:
    num_samples = trim_silence(clip.audio, sample_rate_hz).size
    if not num_samples:
        return _ClipScores(clip.text, False, False, None)
    cepstra = mel_cepstra(clip.audio, sample_rate_hz)
    candidates = list(truths)
    nearest = candidates[identify_sentence(cepstra, [truths[text].cepstra for text in candidates])]
    truth = truths[clip.text]
    return _ClipScores(
        text=clip.text,
        right_sentence=nearest == clip.text,
        right_voice=known is not None and known.identify(clip.audio, sample_rate_hz) == true_voice,
        measure=_Measure(dtw_distortion(truth.cepstra, cepstra), num_samples / truth.num_samples),
    )
