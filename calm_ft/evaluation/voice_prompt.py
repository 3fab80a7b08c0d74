"""Which recording prompts the voice of a run and becomes the voice of its export: chosen by how good it is.

Of the speaker who says most, at most 40 clips are decoded: those of the wanted length first. A clip is passed over if
it is clipped, noisy, nearly silent, cut in a word, far from the speaker's usual level, or said by somebody else. Of the
others the best is taken: near to the speaker's mean embedding, at the usual level, with little noise. Where all are too
short, several are joined; where all are too long, one is cut in a pause. The choice depends on nothing but the clips.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter, text_beside
from calm_ft.data.audio import UnusableClip, mix_down, read_samples
from calm_ft.data.feature_cache import CacheEntry, FeatureCache
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Utterance, printable
from calm_ft.errors import UserError
from calm_ft.evaluation.sentences import TAIL_SEC, load_recording
from calm_ft.metrics.audio_io import read_wav_bytes, wav_bytes
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.recording_quality import FRAME_SEC, RecordingQuality, frame_levels_db, recording_quality
from calm_ft.metrics.speaker import voice_embedding

USUAL_SEC = (6.0, 12.0)
MIN_SEC = 0.5
_MOST_HEARD = 40
_LARGEST_LEVEL_DIFFERENCE_DB = 6.0
_SAME_VOICE, _BELOW_MEDIAN, _FEWEST_VOICES = 0.75, 0.12, 4
# What weighs as much as what: these differences change the score by 1.
_LIKENESS_STEP, _SNR_STEP_DB, _LEVEL_STEP_DB, _LENGTH_STEP_SEC = 0.04, 10.0, 3.0, 2.0
_BEST_SNR_DB = 40.0
_PAUSE_SEC = 0.06
_VOICES = "voices-resemblyzer-1"


@dataclass(frozen=True)
class VoicePrompt:
    """The recording that stands for a voice.

    Attributes:
        samples: [T], as they are in the file that a run writes.
        sources: the files that it was taken from, with the place where it is a part of one.
        reason: why it was taken, in words.
        text: what it says, None where that is not known.
        snr_db: the level of its speech above its noise, that of the noisiest clip where several were joined.
    """

    samples: Tensor
    sources: tuple[str, ...]
    reason: str
    text: str | None = None
    snr_db: float | None = None

    def described(self, sample_rate_hz: int) -> dict[str, Any]:
        """What run.json keeps of it."""
        return {
            "files": list(self.sources),
            "seconds": round(len(self.samples) / sample_rate_hz, 2),
            "snr_db": None if self.snr_db is None else round(self.snr_db, 1),
            "reason": self.reason,
        }

    def line(self, sample_rate_hz: int) -> str:
        """One line of a run's output."""
        noise = "" if self.snr_db is None else f", speech {self.snr_db:.0f} dB above the noise"
        seconds = len(self.samples) / sample_rate_hz
        return f"{', '.join(self.sources)} ({seconds:.1f} s{noise}): {self.reason}"


def choose_prompt(
    clips: Sequence[EncodedUtterance],
    sample_rate_hz: int,
    usual_sec: tuple[float, float] = USUAL_SEC,
    min_sec: float = MIN_SEC,
) -> VoicePrompt:
    """The best clip of the speaker who says most, or several of them joined.

    Args:
        usual_sec: how long a prompt should be, from and to.
        min_sec: the shortest that makes a voice.

    Raises UserError where none of the clips can be read any more, and where all together are shorter than `min_sec`.
    """
    usual_sec = (max(usual_sec[0], min_sec), max(usual_sec[1], min_sec))
    heard = _judged(_heard(_candidates(clips, usual_sec)), usual_sec[0])
    good = sorted((each for each in heard if not each.faults), key=lambda each: (-each.score, each.clip.utterance.id))
    chosen = _of_good(good, usual_sec, min_sec)
    if chosen:
        where = "" if len(good) == len(heard) else f"; {len(heard) - len(good)} were passed over"
        reason = f"the best of {len(heard)} clips by voice, noise, level and length{where}"
    else:
        least = sorted(heard, key=lambda each: (len(each.faults), -each.score, each.clip.utterance.id))
        chosen = _long_enough(least, max(min_sec, MIN_SEC))
        faults = [fault for each in chosen for fault in each.faults]
        without = f"what is without fault ({len(good)} clips) is too short" if good else "no clip is faultless"
        reason = f"{without}; of this one {faults[0]}" if faults else without
    prompt = _prompt_of(chosen, sample_rate_hz, usual_sec, reason)
    if len(prompt.samples) < min_sec * sample_rate_hz:
        raise UserError(
            f"A voice prompt of at least {min_sec:g} s is needed, and the clips of {chosen[0].clip.utterance.speaker} "
            f"make only {len(prompt.samples) / sample_rate_hz:.1f} s: add recordings, or pass one as voice=FILE."
        )
    return prompt


def prompt_of_recording(recording: Path, adapter: TTSAdapter) -> VoicePrompt:
    """A recording that was asked for, as much of it as the system hears.

    Raises UserError where it cannot be used, or is too short for the system.
    """
    rate_hz = adapter.sample_rate_hz
    samples = load_recording(Utterance("voice", recording, ""), rate_hz)
    if len(samples) < adapter.min_voice_sec * rate_hz:
        raise UserError(
            f"The voice {recording} lasts {len(samples) / rate_hz:.1f} s, and {adapter.name} needs "
            f"{adapter.min_voice_sec:g} s: pass a longer recording."
        )
    kept = samples[: round(adapter.max_voice_sec * rate_hz)]
    quality = recording_quality(np.asarray(kept), rate_hz)
    return VoicePrompt(
        as_in_file(kept, rate_hz),
        (printable(recording),),
        "as asked for",
        text_beside(recording) if len(kept) == len(samples) else None,
        None if quality is None else quality.snr_db,
    )


def read_prompt(wav: bytes) -> Tensor:
    """The samples [T] of a voice prompt as its file holds them: a run and later evaluations of it use the same bits."""
    return torch.from_numpy(read_wav_bytes(wav).astype(np.float32))


def as_in_file(samples: Tensor, sample_rate_hz: int) -> Tensor:
    """Samples [T] as they come back from a WAV file."""
    return read_prompt(wav_bytes(samples, sample_rate_hz))


def best_prompt(recordings: Sequence[Tensor], sample_rate_hz: int, usual_sec: tuple[float, float]) -> int:
    """Which of some recordings [T] prompts: one without fault before others, then the longest within the usual length.

    Where all are longer than that, it is the shortest.
    """
    ranks = []
    for samples in recordings:
        seconds = len(samples) / sample_rate_hz
        quality = recording_quality(np.asarray(samples), sample_rate_hz)
        is_long = seconds > usual_sec[1]
        ranks.append((quality is None or any(quality.faults()), is_long, seconds if is_long else -seconds))
    return ranks.index(min(ranks))


@dataclass(frozen=True)
class _Heard:
    """A decoded clip: its figures, its voice as a vector (zeros where that is not known), faults, and its score."""

    clip: EncodedUtterance
    quality: RecordingQuality
    embedding: np.ndarray
    faults: tuple[str, ...] = ()
    score: float = 0.0

    @property
    def duration_sec(self) -> float:
        return self.clip.duration_sec


def _candidates(clips: Sequence[EncodedUtterance], usual_sec: tuple[float, float]) -> list[EncodedUtterance]:
    """The clips of the speaker who says most that are decoded: of the usual length, else nearly so.

    Not the first of the list: lists are often sorted by chapter or day.
    """
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.utterance.speaker] = seconds.get(clip.utterance.speaker, 0.0) + clip.duration_sec
    speaker = max(seconds, key=lambda name: seconds[name])
    shortest, longest = usual_sec

    def place(clip: EncodedUtterance) -> tuple[int, float, bytes]:
        digest = hashlib.sha256(clip.utterance.id.encode("utf-8", "surrogateescape")).digest()
        if clip.duration_sec < shortest:
            return 1, -clip.duration_sec, digest
        return (2, clip.duration_sec, digest) if clip.duration_sec > longest + TAIL_SEC else (0, 0.0, digest)

    return sorted((clip for clip in clips if clip.utterance.speaker == speaker), key=place)[:_MOST_HEARD]


def _heard(candidates: Sequence[EncodedUtterance]) -> list[_Heard]:
    """Those that can be read and are not silent. Raises UserError where none can."""
    voices = _KnownVoices(candidates[0].cache.folder.parent)
    heard = []
    fault: tuple[Path, str] | None = None
    for clip in candidates:
        path = clip.utterance.audio_path
        try:
            recorded, rate_hz = read_samples(clip.utterance)
        except UnusableClip as error:
            fault = fault or (path, str(error))
            continue
        quality = recording_quality(recorded, rate_hz)
        if quality is None:
            fault = fault or (path, "the audio is silent")
        else:
            heard.append(_Heard(clip, quality, voices.embedding(clip.key, mix_down(recorded), rate_hz)))
    voices.keep()
    if not heard:
        path, reason = fault or (candidates[0].utterance.audio_path, "it cannot be read")
        raise UserError(f"{path} cannot be used as a voice prompt: {reason}.")
    return heard


class _KnownVoices:
    """Voice embeddings in the feature cache: to find those of 40 clips takes longer than to load the model."""

    def __init__(self, cache_dir: Path) -> None:
        self._stored = FeatureCache(cache_dir, _VOICES)
        self._new: dict[str, CacheEntry] = {}

    def embedding(self, key: str, mono: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """That of a clip, [256], by its key in the feature cache; zeros where it cannot be had."""
        if key in self._stored:
            return self._stored.read(key)["voice"].numpy()
        try:
            found = voice_embedding(mono, sample_rate_hz)
        except ModelMissing:  # without the extra `evaluation` the other figures choose
            return np.zeros(1)
        self._new[key] = CacheEntry({"voice": torch.from_numpy(found)}, 1, len(mono) / sample_rate_hz)
        return found

    def keep(self) -> None:
        """Stores what was new, where the folder can be written."""
        if self._new:
            with suppress(UserError):
                self._stored.write_shard(self._new)


def _judged(heard: Sequence[_Heard], wanted_sec: float) -> list[_Heard]:
    """The same with what is wrong with each, and its score: higher is better."""
    sound = [each for each in heard if not any(each.quality.faults())] or list(heard)
    usual_db = float(np.median([each.quality.level_dbfs for each in sound]))
    likeness = _likeness(heard, sound)
    limit = -1.0
    known = [likeness[each.clip.key] for each in sound if each.clip.key in likeness]
    if len(known) >= _FEWEST_VOICES:
        limit = min(_SAME_VOICE, float(np.median(known)) - _BELOW_MEDIAN)
    lowest = min(known, default=0.0)
    judged = []
    for each in heard:
        difference_db = each.quality.level_dbfs - usual_db
        like = likeness.get(each.clip.key, lowest)
        faults = list(each.quality.faults())
        if abs(difference_db) > _LARGEST_LEVEL_DIFFERENCE_DB:
            faults.append(f"its level is {difference_db:+.0f} dB from the speaker's usual one")
        if like < limit:
            faults.append(f"it sounds like another voice (cosine {like:.2f})")
        score = like / _LIKENESS_STEP - abs(difference_db) / _LEVEL_STEP_DB
        score += min(each.quality.snr_db or 0.0, _BEST_SNR_DB) / _SNR_STEP_DB
        score += min(each.duration_sec, wanted_sec) / _LENGTH_STEP_SEC
        judged.append(replace(each, faults=tuple(faults), score=score))
    return judged


def _likeness(heard: Sequence[_Heard], sound: Sequence[_Heard]) -> dict[str, float]:
    """Cosine to the mean embedding of the sound clips, by the clip's key; without those of no known voice."""
    known = [each.embedding for each in sound if each.embedding.any()]
    if not known:
        return {}
    mean = np.mean(known, axis=0)
    mean /= np.linalg.norm(mean)
    return {each.clip.key: float(each.embedding @ mean) for each in heard if each.embedding.any()}


def _of_good(good: Sequence[_Heard], usual_sec: tuple[float, float], min_sec: float) -> list[_Heard]:
    """The best of the usual length, else the best of the longer ones, else the best of the shorter ones together."""
    in_range = [each for each in good if usual_sec[0] <= each.duration_sec <= usual_sec[1] + TAIL_SEC]
    longer = [each for each in good if each.duration_sec > usual_sec[1] + TAIL_SEC]
    if in_range or longer:
        return [(in_range or longer)[0]]
    together = _long_enough(good, usual_sec[0])
    return together if sum(each.duration_sec for each in together) >= min_sec else []


def _long_enough(ordered: Sequence[_Heard], wanted_sec: float) -> list[_Heard]:
    """As many of the first clips as last `wanted_sec` together, or all of them."""
    together: list[_Heard] = []
    for each in ordered:
        if sum(other.duration_sec for other in together) >= wanted_sec:
            break
        together.append(each)
    return together


def _prompt_of(
    chosen: Sequence[_Heard], sample_rate_hz: int, usual_sec: tuple[float, float], reason: str
) -> VoicePrompt:
    """The clips one after the other, each with the silence that ends it, as a pause; a single long one is cut."""
    parts = [load_recording(each.clip.utterance, sample_rate_hz) for each in chosen]
    texts = [each.clip.utterance.text for each in chosen]
    samples, text = torch.cat(parts), " ".join(texts).strip() or None
    if len(chosen) == 1 and len(samples) > (usual_sec[1] + TAIL_SEC) * sample_rate_hz:
        end = pause_between(samples, sample_rate_hz, *usual_sec)
        samples, reason = samples[:end], f"{reason}; cut in a pause"
        words = chosen[0].clip.utterance.words
        said = [word.word for word in words or () if word.end_sec <= end / sample_rate_hz]
        text = " ".join(said) or None
    elif len(chosen) > 1:
        reason = f"{reason}; {len(chosen)} joined, since single ones are short"
    ratios = [each.quality.snr_db for each in chosen if each.quality.snr_db is not None]
    sources = tuple(_source(each.clip.utterance) for each in chosen)
    return VoicePrompt(as_in_file(samples, sample_rate_hz), sources, reason, text, min(ratios, default=None))


def pause_between(samples: Tensor, sample_rate_hz: int, first_sec: float, last_sec: float) -> int:
    """The middle of the quietest 60 ms of samples [T] between two times, as a number of samples."""
    levels_db = frame_levels_db(np.asarray(samples[: round(last_sec * sample_rate_hz)]), sample_rate_hz)
    width = round(_PAUSE_SEC / FRAME_SEC)
    loudest = np.lib.stride_tricks.sliding_window_view(levels_db, width).max(axis=1)
    first = round(first_sec / FRAME_SEC)
    quietest = first + int(np.argmin(loudest[first:]))
    return round((quietest + width / 2) * FRAME_SEC * sample_rate_hz)


def _source(utterance: Utterance) -> str:
    name = printable(utterance.audio_path)
    return f"{name} from {utterance.start_sec:.1f} s" if utterance.is_segment else name
