"""The one interface that every TTS system implements to be trained, judged and exported.

The way of the data: clips -> `encode` (frozen, cached) -> `collate` -> `loss`. An adapter whose loss has a
trunk that may be frozen splits it into `hidden` and `head_loss`, so that the trunk runs without gradients
where nothing in it trains.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calm_ft.data.audio import Clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features


@dataclass
class LossTerm:
    """A mean as its parts: `weight * sum / count` enters the total; several processes join their counts first."""

    weight: float
    sum: Tensor
    count: int


@dataclass
class LossOutput:
    """terms: what is minimised; parts: detached scalars to log; num_frames: valid frames in the batch."""

    terms: dict[str, LossTerm]
    parts: dict[str, Tensor]
    num_frames: int

    @property
    def total(self) -> Tensor:
        """The scalar to minimise where this batch is all there is."""
        return self.total_over({name: term.count for name, term in self.terms.items()})

    def total_over(self, counts: Mapping[str, float]) -> Tensor:
        """The same with each term divided by another count, such as the mean count of all processes."""
        # A term may have no rows, such as the text's where every text was dropped: its sum is 0 then.
        means = [term.weight * term.sum / (counts[name] or 1) for name, term in self.terms.items()]
        return torch.stack(means).sum()


@dataclass
class RowResiduals:
    """values: named unweighted residuals, one mean per row [B]; num_frames: valid frames per row [B].

    Among them is `residual`, the one that checkpoints are chosen by and runs compare by.
    """

    values: dict[str, Tensor]
    num_frames: Tensor


@dataclass
class Synthesis:
    """audio: float32 [T] in [-1, 1]; ended: False where generation ran into its length limit."""

    audio: Tensor
    sample_rate_hz: int
    ended: bool


@dataclass
class UnspokenText:
    """How often each character of a text is dropped or replaced before the tokenizer, or unknown to it."""

    dropped: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


def noise_places(seed: int | Sequence[int], num_texts: int) -> list[tuple[int, int]]:
    """The (seed, index) from which each text's noise comes. Raises ValueError for another number of seeds."""
    if isinstance(seed, int):
        return [(seed, index) for index in range(num_texts)]
    if len(seed) != num_texts:
        raise ValueError(f"there are {num_texts} texts and {len(seed)} seeds")
    return [(each, 0) for each in seed]


class TTSAdapter(nn.Module, ABC):
    """A TTS system as the trainer sees it. Parameter names are upstream's own, verbatim."""

    name: str
    sample_rate_hz: int
    frame_rate_hz: float
    prompts_from_own_beginning: bool = True
    """Whether a clip with word times may be prompted by its own beginning; else another clip prompts it."""
    language: str = "en"
    is_miniature: bool = False
    texts_together: int = 1
    """How many texts `synthesize` speaks together at most; it takes any number of them."""

    @abstractmethod
    def components(self) -> Mapping[str, nn.Module]:
        """The named parts that a strategy selects, each parameter in exactly one of them."""

    @abstractmethod
    def frozen_components(self) -> set[str]:
        """Those of them that no strategy trains: the codec, and what the loss does not reach."""

    @abstractmethod
    def feature_fingerprint(self) -> str:
        """Changes with any weight or setting that shapes `encode`'s output."""

    @abstractmethod
    def encode(self, clips: Sequence[Clip]) -> list[Features]:
        """The frozen part of the input, cached on disk by fingerprint."""

    @abstractmethod
    def num_frames(self, features: Features) -> int:
        """Length of a clip in the units that fill a batch."""

    def why_unusable(self, num_frames: int) -> str | None:
        """Why a clip of this length cannot train, in words for excluded.jsonl; None where it can."""
        return None

    @abstractmethod
    def check_text(self, text: str) -> None:
        """Raises UserError where nothing of a text reaches the model, or more than it can take."""

    def unspoken(self, text: str) -> UnspokenText:
        """What of a text does not reach the model as it is written: nothing, unless the system says otherwise."""
        return UnspokenText()

    @abstractmethod
    def speech_inputs(self, text: str) -> str:
        """A text as the model reads it, and the settings that it speaks by when none are given.

        With the weights, the voice and the seed this is all that shapes what `synthesize` says.
        """

    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Statistics of the data that a model from scratch needs; a pretrained one keeps its own."""

    def fitted_state(self) -> dict[str, Tensor]:
        """Buffers set by `fit_statistics`: a checkpoint must hold them beside the trained parameters."""
        return {}

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> Any:
        """A batch: a dataclass of tensors, which Lightning moves to the device.

        It has `utterance_ids`, `num_frames` [B] and `padding_share`, the share of padding among its target frames.
        """

    @abstractmethod
    def loss(self, batch: Any, rng: torch.Generator) -> LossOutput:
        """Training loss; every draw comes from `rng` and a row's place in the whole batch, not from its batch mates.

        So rows that are dealt to several processes draw what they would have drawn together.
        """

    @abstractmethod
    def residuals(self, batch: Any, seed: int) -> RowResiduals:
        """Unweighted residuals, fixed noise and times: a row's value depends on that row and `seed` alone."""

    @abstractmethod
    def synthesize(
        self,
        texts: Sequence[str],
        voice: Any,
        seed: int | Sequence[int],
        temperature: float | None = None,
        num_steps: int | None = None,
    ) -> list[Synthesis]:
        """One utterance a text, each with noise of its own from (seed, index); together where the system can.

        A sequence holds a seed for each text, which then draws what a call with it alone would: from (its seed, 0).
        """

    def stream(self, text: str, voice: Any, seed: int) -> Iterator[Tensor]:
        """What `synthesize([text], voice, seed)` says, in pieces [T] as soon as each can be played.

        A system that cannot speak in pieces yields the whole.
        """
        yield self.synthesize([text], voice, seed)[0].audio

    def reconstruct(self, audio: Tensor) -> Tensor | None:
        """A recording's [T] round trip through the codec that the system speaks by; None where it has none."""
        return None

    @abstractmethod
    def load_voice(self, source: str | Path) -> Any:
        """A voice for `synthesize` from an audio file, a saved voice state or an upstream voice's name.

        Raises UserError where the file is missing or unreadable.
        """

    @abstractmethod
    def export(self, directory: Path, voice_prompt: Path) -> None:
        """Write files that the unmodified upstream package loads; `voice_prompt` is the shipped voice."""

    @abstractmethod
    def how_to_play(self, directory: Path) -> str:
        """The command by which the stock package plays an export."""

    @abstractmethod
    def describe(self) -> str:
        """The model in a few words, for the first line of a run."""
