"""Where a voice prompt ends: at a random length, on a quiet frame; or at a word boundary of the utterance
itself.

Stock generation ends every prompt on a pause (pocket_tts/data/audio_utils.py, `end_on_pause`): a prompt that
stops on speech makes the model continue that utterance. Training prompts therefore end on the quietest frame
near the length that was drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from calm_ft.data.utterance import Utterance, WordTime
from calm_ft.errors import UserError

SPEECH_FLOOR_DB = 35.0
SEARCH_FRAMES = 4
MIN_TRIMMED_SEC = 1.0
COLD_FRAMES = 4  # from the fifth on, what was said before moves a latent by less than 0.025 of its deviation
MIN_TARGET_SEC = 1.0  # upstream's MIN_CUT_SEC (training/dataloader/loader.py)


@dataclass(frozen=True)
class OwnBeginning:
    """A prompt from the utterance itself: its first frames, and the text and the words that remain.

    The words' times count from the end of the prompt.
    """

    num_frames: int
    text: str
    words: tuple[WordTime, ...]


@dataclass(frozen=True)
class PromptLength:
    """Range of prompt lengths in seconds, and where prompts are from; upstream's values (training/args.py).

    own_beginning: a clip with word times is prompted by its own beginning; else another clip prompts it.
    trim_max_sec: each prompt loses a random end of up to this length (upstream's `prompt_trim_max_sec`), but no prompt
        gets shorter than MIN_TRIMMED_SEC by it: a voice that is given at playing may end anywhere.
    """

    min_sec: float = 1.0
    max_sec: float = 5.0
    own_beginning: bool = True
    trim_max_sec: float = 0.5

    def __post_init__(self) -> None:
        """Raises UserError for an empty range, and for a trim below 0."""
        if not 0 <= self.min_sec <= self.max_sec or self.max_sec == 0:
            raise UserError(
                f"adapter.prompt takes lengths with 0 <= min_sec <= max_sec, not {self.min_sec} to {self.max_sec}."
            )
        if not self.trim_max_sec >= 0:
            raise UserError(f"adapter.prompt.trim_max_sec must not be negative, but is {self.trim_max_sec}.")


def trimmed(num_frames: int, length: PromptLength, frame_rate_hz: float, rng: torch.Generator) -> int:
    """How many of a prompt's frames are left of it once it is trimmed at random."""
    longest = round(length.trim_max_sec * frame_rate_hz)
    if longest == 0:
        return num_frames
    kept = num_frames - int(torch.randint(longest + 1, (1,), generator=rng))
    return max(kept, min(num_frames, round(MIN_TRIMMED_SEC * frame_rate_hz)))


def cut_on_pause(energy_db: Tensor, length: PromptLength, frame_rate_hz: float, rng: torch.Generator) -> int:
    """Number of frames of a prompt: random in the range, moved to the quietest frame nearby.

    Args:
        energy_db: [T] frame energies of the whole clip.

    Returns:
        a count in 1..T; at most one quiet frame after the clip's last loud one, as stock prompts end.
    """
    loud = torch.nonzero(energy_db > energy_db.max() - SPEECH_FLOOR_DB).flatten()
    longest = min(int(loud[-1]) + 2, len(energy_db), max(1, int(length.max_sec * frame_rate_hz)))
    shortest = min(longest, max(1, int(length.min_sec * frame_rate_hz)))
    drawn = int(torch.randint(shortest, longest + 1, (1,), generator=rng))
    first = max(shortest, drawn - SEARCH_FRAMES)
    last = min(longest, drawn + SEARCH_FRAMES)
    return first + int(energy_db[first - 1 : last].argmin())


def cut_at_word(
    utterance: Utterance, num_frames: int, length: PromptLength, frame_rate_hz: float, rng: torch.Generator
) -> OwnBeginning | None:
    """The utterance's own beginning up to a random boundary of `word_cuts`, or None where there is none."""
    cuts = word_cuts(utterance, num_frames, length, frame_rate_hz)
    if not cuts:
        return None
    return cuts[int(torch.randint(len(cuts), (1,), generator=rng))]


def word_cuts(utterance: Utterance, num_frames: int, length: PromptLength, frame_rate_hz: float) -> list[OwnBeginning]:
    """Every usable boundary between two words: the prompt is as long as it may be, and MIN_TARGET_SEC remain.

    The remaining text keeps the transcript's punctuation where
    transcript and word list agree in number of words.
    """
    words = utterance.words or ()
    written = utterance.text.split()
    spoken = written if len(written) == len(words) else [word.word for word in words]
    cuts = []
    for index, boundary_sec in enumerate(boundaries(utterance), start=1):
        frame = round(boundary_sec * frame_rate_hz)
        remaining = " ".join(spoken[index:])
        enough = frame > 0 and num_frames - frame >= MIN_TARGET_SEC * frame_rate_hz
        if enough and length.min_sec <= boundary_sec <= length.max_sec and _says_something(remaining):
            passed_sec = frame / frame_rate_hz
            later = (
                WordTime(each.word, each.start_sec - passed_sec, each.end_sec - passed_sec) for each in words[index:]
            )
            cuts.append(OwnBeginning(frame, remaining, tuple(later)))
    return cuts


def boundaries(utterance: Utterance) -> list[float]:
    """The middle of the gap before each word but the first, in seconds."""
    return [(before.end_sec + after.start_sec) / 2 for before, after in pairwise(utterance.words or ())]


def after_cut(features: Mapping[str, Tensor], num_frames: int) -> Tensor:
    """A clip's latents [T - num_frames, C] after a cut, the first ones as if the clip began there.

    Playing starts the codec afresh at the first latent. Upstream encodes the rest after the cut
    (training/dataloader/loader.py); here that of every cut is cached.
    """
    rest = features["latents"][num_frames:].clone()
    if "cuts" in features:
        for start in features["cold_starts"][features["cuts"] == num_frames][:1]:
            rest[:COLD_FRAMES] = start
    return rest


def _says_something(text: str) -> bool:
    """False for what is left of a text when only punctuation is."""
    return any(character.isalnum() for character in text)
