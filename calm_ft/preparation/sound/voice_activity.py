"""Where speech is in a recording, and where a long recording is cut into clips.

A boundary is found in two steps. Silero VAD (github.com/snakers4/silero-vad; its model comes in its package) says
which frames of 32 ms hold speech. Then the level of frames of 10 ms moves the boundary outwards for as long as the
sound stays above the noise of the pause beside it: the model alone often ends before a quiet fricative or the release
of a stop.

Clips are cut in the middle of pauses. Which pauses is found by dynamic programming: a clip costs what it lacks in
length and what long pauses it holds, and a cut is the cheaper the longer its pause.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.recording_quality import FRAME_SEC, LOWEST_DB, frame_levels_db
from calm_ft.preparation.clips import Span

Sound = NDArray[np.floating[Any]]

_VAD_FRAME_SAMPLES = 512
_VAD_FRAME_SEC = _VAD_FRAME_SAMPLES / MODEL_RATE_HZ
_BLOCK_FRAMES, _WARM_UP_FRAMES = 4000, 60
_THRESHOLD = 0.5
_MIN_SPEECH_MS, _MIN_PAUSE_MS = 96, 96
_SMALLEST_GAP_SEC = 0.06

_LONGEST_MOVE_SEC, _LONGEST_STOP_SEC = 0.3, 0.08
_ABOVE_NOISE_DB, _BELOW_SPEECH_DB = 8.0, 45.0
_FEWEST_FRAMES = 4

_COMFORTABLE_PAUSE_SEC = 0.8
_SAFE_PAUSE_SEC, _COST_OF_UNSAFE = 0.25, 3.0  # a stop consonant within a word is silent for up to 0.2 s
_DIP_SEC, _DIP_DB = 0.05, 25.0


def speech_spans(samples: Sound, sample_rate_hz: int) -> list[Span]:
    """The spans of speech in mono sound [T], in order and apart from each other.

    Pauses under about 0.1 s are not told apart from speech. Sound of any length is worked through in blocks of two
    minutes; beside `samples` only one level for each 10 ms is held. Raises ModelMissing without silero-vad.
    """
    if not samples.size:
        return []
    model = _model()
    from silero_vad import get_speech_timestamps_from_probs

    duration_sec = samples.size / sample_rate_hz
    found = get_speech_timestamps_from_probs(
        list(_speech_probabilities(model, samples, sample_rate_hz)),
        sampling_rate=MODEL_RATE_HZ,
        threshold=_THRESHOLD,
        min_speech_duration_ms=_MIN_SPEECH_MS,
        min_silence_duration_ms=_MIN_PAUSE_MS,
        speech_pad_ms=0,
    )
    spans = [Span(row["start"] / MODEL_RATE_HZ, min(row["end"] / MODEL_RATE_HZ, duration_sec)) for row in found]
    return _moved_by_level(spans, frame_levels_db(samples, sample_rate_hz), duration_sec)


@cache
def _model() -> Any:
    """The model that reads many frames in one call: the same figures as frame by frame, seven times as fast."""
    num_threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad

        return load_silero_vad(sequence=True)  # this imports onnxruntime
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    finally:
        torch.set_num_threads(num_threads)  # importing silero_vad sets it to one for the whole process


def _speech_probabilities(model: Any, samples: Sound, sample_rate_hz: int) -> NDArray[np.float32]:
    """How probably each frame of 32 ms holds speech, [F].

    Every block begins with two seconds of the block before, in which the recurrent state settles.
    """
    gain = _gain_to_full_scale(samples)
    num_frames = -(-samples.size * MODEL_RATE_HZ // (sample_rate_hz * _VAD_FRAME_SAMPLES))
    blocks = []
    for first in range(0, num_frames, _BLOCK_FRAMES):
        warm_up = min(first, _WARM_UP_FRAMES)
        start, end = (
            round(frame * _VAD_FRAME_SEC * sample_rate_hz) for frame in (first - warm_up, first + _BLOCK_FRAMES)
        )
        block = at_model_rate(samples[start:end] * gain, sample_rate_hz)
        blocks.append(model.audio_forward(block)[warm_up : warm_up + _BLOCK_FRAMES])
    return np.concatenate(blocks)


def _gain_to_full_scale(samples: Sound) -> float:
    """The model takes speech 40 dB under full scale for silence; a single click must not hide it either."""
    peaks = [np.abs(block).max() for block in np.array_split(samples, max(1, min(200, samples.size // 100)))]
    loud = float(np.percentile(peaks, 90))
    return 0.5 / loud if loud > 1e-5 else 1.0


def _moved_by_level(spans: Sequence[Span], levels_db: NDArray[np.float64], duration_sec: float) -> list[Span]:
    """Spans whose ends lie where the sound sinks into the noise of the pause beside them."""
    edges = [(round(span.start_sec / FRAME_SEC), round(span.end_sec / FRAME_SEC)) for span in spans]
    num_frames = len(levels_db)
    pauses = [levels_db[end:start] for (_, end), (start, _) in pairwise([(0, 0), *edges, (num_frames, 0)])]
    moved: list[tuple[int, int]] = []
    for index, (first, last) in enumerate(edges):
        speech_db = float(np.percentile(levels_db[first:last], 90)) if last > first else LOWEST_DB
        lowest = (edges[index - 1][1] + first) // 2 if index else 0
        highest = (last + edges[index + 1][0] + 1) // 2 if index + 1 < len(edges) else num_frames
        before = levels_db[max(lowest, first - round(_LONGEST_MOVE_SEC / FRAME_SEC)) : first][::-1]
        after = levels_db[last : min(highest, last + round(_LONGEST_MOVE_SEC / FRAME_SEC))]
        first -= _num_above(before, _noise_limit_db(pauses[index], speech_db))
        last += _num_above(after, _noise_limit_db(pauses[index + 1], speech_db))
        if moved and (first - moved[-1][1]) * FRAME_SEC < _SMALLEST_GAP_SEC:
            moved[-1] = (moved[-1][0], last)
        else:
            moved.append((first, last))
    return [Span(first * FRAME_SEC, min(last * FRAME_SEC, duration_sec)) for first, last in moved]


def _noise_limit_db(pause_db: NDArray[np.float64], speech_db: float) -> float:
    """The level above which sound beside a pause is speech; the end of a reverberant or digital silence is not."""
    noise_db = float(np.percentile(pause_db, 20)) if len(pause_db) >= _FEWEST_FRAMES else LOWEST_DB
    return max(noise_db + _ABOVE_NOISE_DB, speech_db - _BELOW_SPEECH_DB)


def _num_above(levels_db: NDArray[np.float64], limit_db: float) -> int:
    """How many frames from the first on belong to sound above a limit, short stops within it included."""
    loud = np.flatnonzero(levels_db > limit_db)
    num_frames = 0
    for index in loud:
        if (index - num_frames) * FRAME_SEC > _LONGEST_STOP_SEC:
            break
        num_frames = int(index) + 1
    return num_frames


def clip_spans(
    samples: Sound,
    sample_rate_hz: int,
    spans: Sequence[Span],
    min_sec: float = 2.0,
    max_sec: float = 20.0,
    padding_sec: float = 0.15,
) -> list[Span]:
    """The spans of sound [T] to cut into clips, in order, each with up to `padding_sec` of the pauses around it.

    Every span of speech lies in exactly one clip. Neighbours are joined until a clip is at least `min_sec` long and,
    while pauses are short, up to `max_sec`; two clips never share sound, for both end by the middle of their pause.
    Speech without a pause for longer than `max_sec` is cut where its level falls by 25 dB for 50 ms, and stays one long
    clip where it never does. A clip is shorter than `min_sec` where only long pauses surround it.
    """
    duration_sec = samples.size / sample_rate_hz
    longest_sec = max_sec - 2 * padding_sec
    pieces = [piece for span in spans for piece in _cut_at_dips(samples, sample_rate_hz, span, longest_sec)]
    groups = _grouped(pieces, min_sec - 2 * padding_sec, longest_sec)
    clips = []
    for first, last in groups:
        earliest = (pieces[first - 1].end_sec + pieces[first].start_sec) / 2 if first else 0.0
        latest = (pieces[last].end_sec + pieces[last + 1].start_sec) / 2 if last + 1 < len(pieces) else duration_sec
        start, end = pieces[first].start_sec - padding_sec, pieces[last].end_sec + padding_sec
        clips.append(Span(max(earliest, start), min(latest, end)))
    return clips


def _grouped(pieces: Sequence[Span], min_sec: float, max_sec: float) -> list[tuple[int, int]]:
    """The first and last piece of each clip, so that the sum of all costs is the smallest possible."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # the cost of all pieces before one, and where their last clip begins
    for last in range(len(pieces)):
        options = []
        inner = 0.0
        pause_after_sec = pieces[last + 1].start_sec - pieces[last].end_sec if last + 1 < len(pieces) else 1.0
        for first in range(last, -1, -1):
            length_sec = pieces[last].end_sec - pieces[first].start_sec
            if first < last:
                if length_sec > max_sec:
                    break
                pause_sec = pieces[first + 1].start_sec - pieces[first].end_sec
                inner += max(0.0, pause_sec - _COMFORTABLE_PAUSE_SEC) ** 2
            missing_sec = max(0.0, min_sec - length_sec)
            options.append((best[first][0] + inner + 2 * missing_sec, first))
        cost, first = min(options)
        unsafe = _COST_OF_UNSAFE if pause_after_sec < _SAFE_PAUSE_SEC else 0.0
        best.append((cost + 1.0 - min(pause_after_sec, 0.9) + unsafe, first))
    groups = []
    end = len(pieces)
    while end:
        first = best[end][1]
        groups.append((first, end - 1))
        end = first
    return groups[::-1]


def _cut_at_dips(samples: Sound, sample_rate_hz: int, span: Span, max_sec: float) -> list[Span]:
    """A span as it is, or where it is too long its parts between the deepest dips of its level."""
    if span.duration_sec <= max(max_sec, 1.0):
        return [span]
    part = samples[round(span.start_sec * sample_rate_hz) : round(span.end_sec * sample_rate_hz)]
    levels_db = frame_levels_db(part, sample_rate_hz)
    width = round(_DIP_SEC / FRAME_SEC)
    loudest = np.lib.stride_tricks.sliding_window_view(levels_db, width).max(axis=1)
    sixth = len(loudest) // 6
    deepest = sixth + int(np.argmin(loudest[sixth:-sixth]))
    if loudest[deepest] > np.percentile(levels_db, 90) - _DIP_DB:
        return [span]
    cut_sec = span.start_sec + (deepest + width / 2) * FRAME_SEC
    halves = (Span(span.start_sec, cut_sec), Span(cut_sec, span.end_sec))
    return [piece for half in halves for piece in _cut_at_dips(samples, sample_rate_hz, half, max_sec)]
