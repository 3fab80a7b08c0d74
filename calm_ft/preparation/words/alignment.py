"""When each word of a known text is said, and how well the text fits the sound.

Two aligners. PocketSphinx's is for English and needs nothing but its wheel: hidden Markov models of each word's sounds,
in the order of the text, with pauses between. The other takes a wav2vec2 model of any language, where a folder with one
is given, and finds the most probable path through its letters (torchaudio's `forced_align`; Pratap et al., "Scaling
Speech Technology to 1,000+ Languages", 2023, section 2).

Sound longer than half a minute is not aligned at once, for one word too many would lose the rest. As Moreno et al. ("A
recursive algorithm for the forced alignment of very long audio segments", 1998) do it, a recogniser that expects the
words of the text listens first; where what it heard agrees with the text is known where each piece of sound begins in
the text, and the pieces are aligned one by one. No word of the text is lost or doubled; words that nobody can place
have a confidence near 0.
"""

import math
import os
import tempfile
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calm_ft.data.utterance import UnusableClip
from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.ctc import CTCModel
from calm_ft.metrics.recording_quality import frame_levels_db
from calm_ft.preparation.clips import HeardWord, Span
from calm_ft.preparation.sound.voice_activity import clip_spans, speech_spans
from calm_ft.preparation.words.pronunciation import pronunciation
from calm_ft.preparation.words.text import spoken_form
from calm_ft.preparation.words.transcription import (
    FRAME_SEC,
    Sound,
    decode,
    decoded_words,
    is_filler,
    pocketsphinx_decoder,
    words_in,
)

FITS = 0.5
"""An alignment with a lower score is of a text that is not said in the sound.

By PocketSphinx, of 251 telephone prompts of a person with four words and more 4 right texts score lower and 6 swapped
ones higher; of 238 with one word 15 and 23, so one word cannot be judged. A voice that PocketSphinx does not understand
(an accent, a synthetic one) scores lower with all of its right texts: where most of a speaker's do, they tell nothing.
What wav2vec2 scores was not measured, for want of a model.
"""

_LONG_SEC, _PIECE_SEC, _LONGEST_BLOCK_SEC = 30.0, 12.0, 90.0
_LEAST_CONFIDENCE, _SEC_FOR_A_WORD, _UNPLACED_SEC = 1e-4, 0.6, 0.4
_LOUD_DB, _COVERED, _HARDLY_COVERED = 30.0, 0.6, 0.2

Times = list[tuple[float, float, float | None]]
"""Start and end in seconds and confidence of each unit of a text; no confidence for a unit without a word."""


@dataclass(frozen=True)
class Alignment:
    """The words of a text as they are written, one for each part between spaces, and when each is said.

    `score` is near 1 where the text fits the sound and near 0 where it does not; texts under FITS are wrong. Each
    word's confidence is the same for the word alone, and less sure.
    """

    words: tuple[HeardWord, ...]
    score: float


class Aligner(ABC):
    """Aligns texts with mono sound of any length."""

    name: str

    def align(self, samples: Sound, sample_rate_hz: int, text: str) -> Alignment:
        """When each word of `text` is said in sound [T]; see `Alignment`.

        Raises UnusableClip where the text holds no word, and where no way leads through the sound for it.
        """
        sound = at_model_rate(samples, sample_rate_hz)
        written = text.split()
        units = [self._unit(token) for token in written]
        if not any(units):
            raise UnusableClip("its text holds no word that could be aligned")
        if sound.size <= _LONG_SEC * MODEL_RATE_HZ:
            times = self._times(sound, units)
            if times is None:
                raise UnusableClip("its text does not fit its sound")
            times = _covered(times, sound, [Span(0.0, sound.size / MODEL_RATE_HZ)])
        else:
            times = self._long(sound, units)
        words = tuple(HeardWord(word, *place) for word, place in zip(written, times, strict=True))
        return Alignment(words, score_of(words))

    @abstractmethod
    def _unit(self, token: str) -> tuple[str, ...]:
        """The spoken words of one written word; none for punctuation alone."""

    @abstractmethod
    def _times(self, sound: NDArray[np.float32], units: Sequence[tuple[str, ...]]) -> Times | None:
        """The units' times in sound [T] at 16 kHz; None where no path leads through it. Empty units have length 0."""

    @abstractmethod
    def _heard(self, parts: Sequence[NDArray[np.float32]], units: Sequence[tuple[str, ...]]) -> list[list[str]]:
        """The words that are heard in each part [T], where those of `units` are expected."""

    def _long(self, sound: NDArray[np.float32], units: Sequence[tuple[str, ...]]) -> Times:
        spans = clip_spans(sound, MODEL_RATE_HZ, speech_spans(sound, MODEL_RATE_HZ), max_sec=_PIECE_SEC)
        if not spans:
            raise UnusableClip("no speech was found in it")
        heard = self._heard([_cut(sound, span) for span in spans], units)
        owners = owners_of(units, heard)
        times: Times = []
        for block in _blocks(owners, spans):
            own = units[block.first : block.last]
            found = self._block(sound, own, spans[block.first_span : block.last_span + 1])
            if found is None or _fit(found) < FITS:
                # Rather a few words nowhere than all of them in the wrong place.
                found = self._span_by_span(sound, units, spans, owners, block)
            times += found
        return _in_order(times)

    def _block(
        self, sound: NDArray[np.float32], units: Sequence[tuple[str, ...]], spans: Sequence[Span]
    ) -> Times | None:
        whole = Span(spans[0].start_sec, spans[-1].end_sec)
        found = self._times(_cut(sound, whole), units)
        if found is None:
            return None
        shift = round(whole.start_sec * MODEL_RATE_HZ) / MODEL_RATE_HZ
        moved = [(start + shift, end + shift, confidence) for start, end, confidence in found]
        return _covered(moved, sound, spans)

    def _span_by_span(
        self,
        sound: NDArray[np.float32],
        units: Sequence[tuple[str, ...]],
        spans: Sequence[Span],
        owners: Sequence[int],
        block: "_Stretch",
    ) -> Times:
        """Where a block does not fit as a whole: the words of each span by themselves, else spread over it."""
        span, placed = block.first_span, []
        for owner in owners[block.first : block.last]:
            span = owner if owner >= 0 else span
            placed.append(span)
        times: Times = []
        for index in dict.fromkeys(placed):
            own = [place for place in range(block.first, block.last) if placed[place - block.first] == index]
            times += self._span(
                sound, [units[place] for place in own], [owners[place] >= 0 for place in own], spans[index]
            )
        return times

    def _span(
        self, sound: NDArray[np.float32], units: Sequence[tuple[str, ...]], heard: Sequence[bool], span: Span
    ) -> Times:
        """The units of one span: all of them, else without those that were not heard, else spread over it."""
        found = self._block(sound, units, [span])
        if (found is not None and _fit(found) >= FITS) or all(heard) or not any(heard):
            return found or _spread(units, span)
        said = self._block(sound, [unit for unit, is_heard in zip(units, heard, strict=True) if is_heard], [span])
        if said is None:
            return found or _spread(units, span)
        rest, end_sec = iter(said), span.start_sec
        times: Times = []
        for unit, is_heard in zip(units, heard, strict=True):
            times.append(next(rest) if is_heard else (end_sec, end_sec, _LEAST_CONFIDENCE if unit else None))
            end_sec = times[-1][1]
        return times


def choose_aligner(language: str | None, model: str | None = None) -> Aligner | None:
    """The aligner for a language, an ISO 639-1 code; None where there is none.

    `model` is a folder with a wav2vec2 recogniser of the language (config.json, vocab.json, model.safetensors). Without
    one PocketSphinx aligns English. Raises UserError where the folder holds no such model.
    """
    if model is not None:
        try:
            return CTCAligner(model, language)
        except ModelMissing as missing:
            raise UserError(
                f"{str(missing).rstrip('.')}; give a folder as transformers saves it, or none for English."
            ) from missing
    if language != "en":
        return None
    try:
        return PocketSphinxAligner()
    except ModelMissing:
        return None


class PocketSphinxAligner(Aligner):
    """English, by the models of PocketSphinx's wheel; words that its dictionary lacks are spelled out by rule."""

    name = "pocketsphinx"
    # A frame's log-likelihood under the text, relative to the best of all sounds, is -1.6 in the middle for right texts
    # and -4 for wrong ones that fit at all.
    _MIDDLE, _WIDTH = -2.75, 0.3

    def __init__(self) -> None:
        """Raises ModelMissing without PocketSphinx."""
        self._decoder = pocketsphinx_decoder(lm=None)

    def _unit(self, token: str) -> tuple[str, ...]:
        return tuple(words_in(spoken_form(token, "en").text))

    def _know(self, decoder: Any, units: Sequence[tuple[str, ...]]) -> None:
        for word in dict.fromkeys(word for unit in units for word in unit):
            if decoder.lookup_word(word) is None:
                decoder.add_word(word, pronunciation(word, self._decoder.lookup_word), update=False)

    def _times(self, sound: NDArray[np.float32], units: Sequence[tuple[str, ...]]) -> Times | None:
        words = [word for unit in units for word in unit]
        if not words:
            return [(0.0, 0.0, None)] * len(units)
        self._know(self._decoder, units)
        self._decoder.set_align_text(" ".join(words))
        decode(self._decoder, sound)
        if self._decoder.hyp() is None:
            return None
        found = [segment for segment in self._decoder.seg() if not is_filler(segment.word)]
        if len(found) != len(words):
            return None
        return list(self._grouped(found, units))

    def _grouped(
        self, segments: Sequence[Any], units: Sequence[tuple[str, ...]]
    ) -> Iterator[tuple[float, float, float | None]]:
        place, end_sec = 0, 0.0
        for unit in units:
            own = segments[place : place + len(unit)]
            place += len(unit)
            if not own:
                yield end_sec, end_sec, None
                continue
            num_frames = sum(segment.end_frame - segment.start_frame + 1 for segment in own)
            likelihood = sum(math.log(max(segment.ascore, 1e-300)) for segment in own) / num_frames
            end_sec = (own[-1].end_frame + 1) * FRAME_SEC
            yield own[0].start_frame * FRAME_SEC, end_sec, _sigmoid((likelihood - self._MIDDLE) / self._WIDTH)

    def _heard(self, parts: Sequence[NDArray[np.float32]], units: Sequence[tuple[str, ...]]) -> list[list[str]]:
        """By a language model of the text itself, with which few other words than the text's can be heard."""
        from pocketsphinx import NGramModel
        from pocketsphinx.lm import ArpaBoLM

        decoder = pocketsphinx_decoder(lm=None)
        self._know(decoder, units)
        model = ArpaBoLM(text=" ".join(word for unit in units for word in unit), add_start=True)
        model.compute()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "text.arpa")
            model.write_file(path)
            decoder.add_lm("text", NGramModel(decoder.config, decoder.logmath, path))
        decoder.activate_search("text")
        return [[word.word for word in decoded_words(decoder, part)] for part in parts]


class CTCAligner(Aligner):
    """Any language, by a wav2vec2 model in a folder."""

    name = "wav2vec2"

    def __init__(self, folder: str | Path, language: str | None) -> None:
        """Raises ModelMissing where the folder holds no such model."""
        self._model, self._language = CTCModel(folder), language
        letters = {token for token in self._model.index if len(token) == 1 and token.isalpha()}
        self._is_upper = bool(letters) and all(letter == letter.upper() for letter in letters)

    def _unit(self, token: str) -> tuple[str, ...]:
        words = words_in(spoken_form(token, self._language).text)
        return tuple(word for word in (self._spelled(word) for word in words) if word)

    def _spelled(self, word: str) -> str:
        """The word in the letters of the model: without the accents that it does not know, and the rest left out."""
        kept = []
        for letter in word.upper() if self._is_upper else word:
            plain = unicodedata.normalize("NFD", letter)[0]
            kept.append(letter if letter in self._model.index else plain if plain in self._model.index else "")
        return "".join(kept)

    def _times(self, sound: NDArray[np.float32], units: Sequence[tuple[str, ...]]) -> Times | None:
        from torchaudio.functional import forced_align, merge_tokens

        targets, owners = self._targets(units)
        if not targets:
            return [(0.0, 0.0, None)] * len(units)
        emission = self._model.log_probabilities(sound, MODEL_RATE_HZ)[None]
        repeats = sum(first == second for first, second in pairwise(targets))
        if emission.shape[1] < len(targets) + repeats:
            return None
        path, scores = forced_align(emission, torch.tensor([targets], dtype=torch.int32), blank=self._model.blank)
        spans = merge_tokens(path[0], scores[0].exp(), blank=self._model.blank)
        times: Times = []
        end_sec = 0.0
        for index in range(len(units)):
            own = [span for span, owner in zip(spans, owners, strict=True) if owner == index]
            if not own:
                times.append((end_sec, end_sec, None))
                continue
            end_sec = own[-1].end * self._model.frame_sec
            confidence = sum(span.score * len(span) for span in own) / sum(len(span) for span in own)
            times.append((own[0].start * self._model.frame_sec, end_sec, float(confidence)))
        return times

    def _targets(self, units: Sequence[tuple[str, ...]]) -> tuple[list[int], list[int]]:
        """The rows of all letters, words apart, and the unit that each belongs to; -1 for what stands between."""
        targets: list[int] = []
        owners: list[int] = []
        delimiter = self._model.delimiter
        for index, unit in enumerate(units):
            for word in unit:
                if targets and delimiter is not None:
                    targets.append(self._model.index[delimiter])
                    owners.append(-1)
                targets += [self._model.index[letter] for letter in word]
                owners += [index] * len(word)
        return targets, owners

    def _heard(self, parts: Sequence[NDArray[np.float32]], units: Sequence[tuple[str, ...]]) -> list[list[str]]:
        """The most probable letter of each frame, repeats and blanks left out."""
        letters = {row: token for token, row in self._model.index.items()}
        heard = []
        for part in parts:
            rows = torch.unique_consecutive(self._model.log_probabilities(part, MODEL_RATE_HZ).argmax(dim=-1)).tolist()
            said = "".join(
                " " if letters[row] == self._model.delimiter else letters[row]
                for row in rows
                if row != self._model.blank and len(letters[row]) == 1
            )
            heard.append(said.split())
        return heard


# Texts and spans


def split_alignment(alignment: Alignment, spans: Sequence[Span]) -> list[Alignment]:
    """The part of an alignment that belongs to each span; every word to one: that of its middle, else the nearest.

    Times stay those of the whole sound. A span without a word has no words and a score of 0.
    """
    own: list[list[HeardWord]] = [[] for _ in spans]
    place = 0
    for word in alignment.words:
        middle = (word.start_sec + word.end_sec) / 2
        while place + 1 < len(spans) and middle > (spans[place].end_sec + spans[place + 1].start_sec) / 2:
            place += 1
        own[place].append(word)
    return [Alignment(tuple(words), score_of(words)) for words in own]


def split_text(text: str, alignment: Alignment, spans: Sequence[Span]) -> list[str]:
    """The words of `text` that are said in each span: in order, none lost or doubled; "" where none is.

    Raises ValueError where the alignment is of another text.
    """
    if text.split() != [word.word for word in alignment.words]:
        raise ValueError("the alignment is of another text")
    return [" ".join(word.word for word in part.words) for part in split_alignment(alignment, spans)]


def score_of(words: Sequence[HeardWord]) -> float:
    """How well words fit together: the mean of their confidences' logits, weighted by time; 0 without any.

    Words that could not be placed have no time, and weigh as much as an ordinary word.
    """
    timed = [
        (word.end_sec - word.start_sec if word.confidence > _LEAST_CONFIDENCE else _UNPLACED_SEC, word.confidence)
        for word in words
        if word.confidence is not None
    ]
    total_sec = sum(length for length, _ in timed)
    if not total_sec:
        return 0.0
    bounded = ((length, min(max(known, _LEAST_CONFIDENCE), 1 - _LEAST_CONFIDENCE)) for length, known in timed)
    return _sigmoid(sum(length * math.log(known / (1 - known)) for length, known in bounded) / total_sec)


def owners_of(units: Sequence[tuple[str, ...]], heard: Sequence[Sequence[str]]) -> list[int]:
    """The part of the sound in which each unit is said, by the fewest edits between the text and what was heard.

    -1 for units that were not heard. Parts never go back.
    """
    from rapidfuzz.distance import Levenshtein

    said = [(word, part) for part, words in enumerate(heard) for word in words]
    flat = [(word, index) for index, unit in enumerate(units) for word in unit]
    owners = [-1] * len(units)
    for edit in Levenshtein.opcodes([word for word, _ in flat], [word for word, _ in said]):
        if edit.tag != "equal":
            continue
        for source, target in zip(
            range(edit.src_start, edit.src_end), range(edit.dest_start, edit.dest_end), strict=True
        ):
            owners[flat[source][1]] = said[target][1]
    return owners


@dataclass(frozen=True)
class _Stretch:
    """Units from `first` to before `last`, said in the spans from `first_span` to `last_span`, both included."""

    first: int
    last: int
    first_span: int
    last_span: int


def _blocks(owners: Sequence[int], spans: Sequence[Span]) -> list[_Stretch]:
    """Units and spans that surely belong together, cut wherever it is known between which units a span ends.

    Where that is known nowhere for longer than 90 s, it is guessed. Spans in which nothing of the text was heard, with
    known units on both sides, belong to no block.
    """
    known = [index for index, owner in enumerate(owners) if owner >= 0]
    if not known:
        return [_Stretch(0, len(owners), 0, len(spans) - 1)]
    first = _reach_back(owners[known[0]], known[0], spans)
    last = len(spans) - 1 - _reach_back(len(spans) - 1 - owners[known[-1]], len(owners) - 1 - known[-1], spans[::-1])
    blocks = [_Stretch(0, len(owners), first, last)]
    cuts = [
        (_sureness(owners, before, after), before + 1 + (after - before - 1) // 2, owners[before], owners[after])
        for before, after in pairwise(known)
        if owners[before] < owners[after]
    ]
    for level in (2, 1, 0):
        blocks = [part for block in blocks for part in _cut_block(block, cuts, level, spans)]
    return blocks


def _cut_block(
    block: _Stretch, cuts: Sequence[tuple[int, int, int, int]], level: int, spans: Sequence[Span]
) -> Iterator[_Stretch]:
    too_long = spans[block.last_span].end_sec - spans[block.first_span].start_sec > _LONGEST_BLOCK_SEC
    for sureness, place, ends_with, begins_with in cuts:
        if sureness == level and block.first < place < block.last and (level == 2 or too_long):
            yield _Stretch(block.first, place, block.first_span, ends_with)
            block = _Stretch(place, block.last, begins_with, block.last_span)
    yield block


def _sureness(owners: Sequence[int], before: int, after: int) -> int:
    """2 where no unit lies between and the next ones agree, 1 where they do not, 0 with units that were not heard."""
    if after > before + 1:
        return 0
    agrees_before = before == 0 or owners[before - 1] == owners[before]
    agrees_after = after + 1 == len(owners) or owners[after + 1] == owners[after]
    return 2 if agrees_before and agrees_after else 1


def _reach_back(span: int, num_units: int, spans: Sequence[Span]) -> int:
    """The span in which units begin that were not heard before the first one that was."""
    wanted_sec = num_units * _SEC_FOR_A_WORD
    while span and wanted_sec > 0:
        span -= 1
        wanted_sec -= spans[span].duration_sec
    return span


def _cut(sound: NDArray[np.float32], span: Span) -> NDArray[np.float32]:
    return sound[round(span.start_sec * MODEL_RATE_HZ) : round(span.end_sec * MODEL_RATE_HZ)]


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, value))))


def _covered(times: Times, sound: NDArray[np.float32], spans: Sequence[Span]) -> Times:
    """Times with less confidence where their words leave much of a span's loud frames without text."""
    factors = [_coverage(times, _cut(sound, span), span) for span in spans]
    place = 0
    result: Times = []
    for start, end, confidence in times:
        while place + 1 < len(spans) and (start + end) / 2 > (spans[place].end_sec + spans[place + 1].start_sec) / 2:
            place += 1
        lowered = None if confidence is None else max(_LEAST_CONFIDENCE, confidence * factors[place])
        result.append((start, end, lowered))
    return result


def _coverage(times: Times, sound: NDArray[np.float32], span: Span) -> float:
    """1 where the words cover the loud frames of a span, [T] at 16 kHz, and 0 where they hardly do."""
    levels_db = frame_levels_db(sound, MODEL_RATE_HZ)
    if not len(levels_db):
        return 1.0
    loud = levels_db > np.percentile(levels_db, 95) - _LOUD_DB
    inside = np.zeros(len(levels_db), bool)
    for start, end, _ in times:
        first, last = (round((time - span.start_sec) / FRAME_SEC) for time in (start, end))
        if end > start and last > 0 and first < len(inside):
            inside[max(0, first) : last] = True
    share = float((loud & inside).sum() / max(1, loud.sum()))
    return min(1.0, max(0.0, (share - _HARDLY_COVERED) / (_COVERED - _HARDLY_COVERED)))


def _fit(times: Times) -> float:
    return score_of([HeardWord("", *place) for place in times])


def _in_order(times: Times) -> Times:
    """No word begins before the one before it ends; words without length stand where that one ends."""
    result: Times = []
    end_sec = 0.0
    for start, end, confidence in times:
        start = max(start, end_sec)
        end_sec = max(end, start)
        result.append((start, end_sec, confidence))
    return result


def _spread(units: Sequence[tuple[str, ...]], span: Span) -> Times:
    """Units over a span by their letters, where nothing tells more."""
    letters = np.cumsum([0] + [max(1, sum(map(len, unit))) for unit in units])
    places = span.start_sec + (span.end_sec - span.start_sec) * letters / letters[-1]
    return [(float(start), float(end), _LEAST_CONFIDENCE) for start, end in pairwise(places)]
