"""The one interface that every TTS system implements to be trained, evaluated and exported.

Data flow: clips -> `encode` (frozen, cached) -> `collate` -> `loss`. A new system implements the ten abstract methods
of `TTSAdapter`; everything else has a default. Each docstring says who calls the method.
"""

import hashlib
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from calm_ft.adapters.playing import Playing
from calm_ft.adapters.reduced import check_range, name_of, rounded
from calm_ft.adapters.text_coverage import TextCoverage
from calm_ft.commands import command_line
from calm_ft.data.audio import Clip, UnusableClip, load_clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import FeatureCache, Features
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.prompts import PromptPool
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import write_wav
from calm_ft.tensor_hash import add_tensors

VOICE_TAIL_SEC = 0.2
Role = Literal["head", "layer", "output_norm", "codec", "voice", "loss", "other"]


@dataclass(frozen=True)
class Component:
    """A named part of a system, as strategies and optimizers select it.

    Args:
        module: holds the part's parameters, which are the model's own.
        role: `head` (turns the output of a stack into a prediction), `layer` (one of a stack), `output_norm` (follows
            the last layer of a stack), `codec` (waveform to features and back), `loss` (weighs the loss, is no part of
            the model, and trains under every strategy), `voice` (what is learned of a voice itself, which trains under
            the strategies that are made for it alone), or `other`.
        stack: the stack of layers that the part belongs to, such as "backbone" or "t3"; None where it belongs to none.
        layer_index: place of a `layer` in its stack, counted from 0.
        trainable: whether the loss reaches the part. No strategy trains a part that the loss does not reach.
        blocks: repeated blocks inside the part, such as the residual blocks of a head. Their matrices are hidden
            weights, which Muon trains. A `layer` is one block by itself.
        lr: its own rate, in place of the optimizer's.

    Raises ValueError for a layer without stack or index.
    """

    module: nn.Module
    role: Role = "other"
    stack: str | None = None
    layer_index: int | None = None
    trainable: bool = True
    blocks: tuple[nn.Module, ...] = ()
    lr: float | None = None

    def __post_init__(self) -> None:
        if (self.role == "layer") != (self.layer_index is not None) or (self.role == "layer" and self.stack is None):
            raise ValueError("a layer, and nothing else, has an index within a stack")

    @property
    def hidden_blocks(self) -> tuple[nn.Module, ...]:
        """The blocks whose matrices are hidden weights: those inside the part, or the part itself if it is a layer."""
        return (self.module,) if self.role == "layer" else self.blocks


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


def noise_places(seed: int | Sequence[int], num_texts: int) -> list[tuple[int, int]]:
    """The (seed, index) from which each text's noise comes. Raises ValueError for another number of seeds."""
    if isinstance(seed, int):
        return [(seed, index) for index in range(num_texts)]
    if len(seed) != num_texts:
        raise ValueError(f"there are {num_texts} texts and {len(seed)} seeds")
    return [(each, 0) for each in seed]


def checked_language(language: Any) -> str:
    """A language as `adapter.language` gives it. Raises UserError for anything but an ISO 639 code."""
    if not isinstance(language, str) or not re.fullmatch("[a-z]{2,3}", language):
        raise UserError(f"adapter.language={language} is no ISO 639 code of a language: write it as en, fr or de.")
    return language


def join_recordings(recordings: Iterable[Path], sample_rate_hz: int, max_sec: float) -> Tensor:
    """Recordings one after the other, [T], each with 0.2 s of silence behind it; at most the first `max_sec`.

    Raises UserError where one of them cannot be used.
    """
    parts: list[Tensor] = []
    limit = round(max_sec * sample_rate_hz)
    for path in recordings:
        if sum(map(len, parts)) < limit:
            try:
                parts.append(load_clip(Utterance("voice", Path(path), ""), sample_rate_hz, VOICE_TAIL_SEC).samples)
            except UnusableClip as error:
                raise UserError(f"The voice recording {path} cannot be used: {error}.") from error
    return torch.cat(parts)[:limit]


def text_beside(recording: str | Path) -> str | None:
    """What a voice recording says, from a text file of the same name beside it (`voice.wav`, `voice.txt`)."""
    path = Path(recording).with_suffix(".txt")
    text = (
        path.read_text(encoding="utf-8", errors="replace").strip()
        if Path(recording).suffix != ".txt" and path.is_file()
        else ""
    )
    return text or None


class TTSAdapter(nn.Module, ABC):
    """A TTS system as the trainer sees it. Parameter names are upstream's own, verbatim.

    The constructor sets `name`, `sample_rate_hz`, `frame_rate_hz` and `language`.
    """

    name: str
    """The system's name, by which `calm_ft.adapters.registry` knows it."""
    sample_rate_hz: int
    """Rate of the clips that `encode` takes and of the audio that `synthesize` gives."""
    frame_rate_hz: float
    """How many of the units that `num_frames` counts make a second."""
    language: str = "en"
    """ISO 639-1 code of the language that the model speaks; the evaluation chooses recogniser and normaliser by it."""
    is_miniature: bool = False
    """Whether this is a rehearsal model, which does not speak as a released one does."""
    embedded_recogniser_fits: bool = False
    """Whether the model speaks as the embedded recogniser was taught to hear; no released one does."""
    uses_prompts: bool = True
    """Whether training rows are prompted by another clip of the speaker (see `prompt_pool`)."""
    min_voice_sec: float = 0.5
    """The shortest recording that makes a voice."""
    usual_voice_sec: tuple[float, float] = (6.0, 12.0)
    """How long a voice recording should be, from and to; a run chooses its voice prompt by it."""
    max_voice_sec: float = 30.0
    """How much of a voice recording the system hears at most."""
    voice_suffix: str | None = None
    """The suffix of the files that `save_voice` writes, such as ".safetensors"; None where the system keeps none."""
    voice_names: Collection[str] = ()
    """The upstream voices that `load_voice` knows by name."""
    needs_replay: bool = False
    """Whether training takes clips of further sources (`data.sources`) beside those of the voice."""
    max_synthesis_batch: int = 1
    """How many texts `synthesize` speaks together at most. Callers that report progress pass no more at once."""
    playing: Playing = Playing()
    """How `synthesize` and `stream` draw speech where a call does not say otherwise; set by `play_as`."""
    export_dtype: torch.dtype = torch.float32
    """Of the weights in the files that `export` writes; set by `export_as`."""

    def with_draws(self, batch: Any, rng: torch.Generator) -> Any:
        """The batch with what `loss` would draw from the same generator, so that a loader's process can draw it.

        Called where processes of their own make the batches. A system may leave all to `loss`, as this does.
        """
        return batch

    def compile_training(self) -> None:
        """Have torch.compile fuse what a training step computes most; called once, when a strategy has been applied.

        What is spoken stays as it is, and so do the names of the parameters. A system that cannot be compiled keeps
        this, which does nothing.
        """

    # ---- What a system implements ----

    @abstractmethod
    def components(self) -> Mapping[str, Component]:
        """The named parts of the model; every parameter is in exactly one of them.

        Called by strategies, which select parts by role and stack, and by optimizers. People write the names in
        `strategy.freeze_components`, `strategy.lr_factors` and `strategy.targets`, so they stay as they are.
        """

    @abstractmethod
    def feature_fingerprint(self) -> str:
        """A hash of every weight and setting that shapes the output of `encode`; without such weights, a constant.

        Called by the feature cache, whose folders are named by it.
        """

    @abstractmethod
    def encode(self, clips: Sequence[Clip]) -> list[Features]:
        """The features of each clip, on the CPU and without padding: the frozen part of the input.

        Called while recordings are prepared, once for each clip and in several threads at once; the features are then
        read from the cache.
        """

    @abstractmethod
    def num_frames(self, features: Features) -> int:
        """Length of a clip in the units that fill a batch. Called while recordings are prepared."""

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> Any:
        """A batch: a dataclass of tensors, which Lightning moves to the device.

        It has `utterance_ids`, `num_frames` [B], `padding_share` (share of padding among its target frames) and
        `prompt_ids` (the other utterances that prompt some rows). Called by the data loaders.
        """

    @abstractmethod
    def loss(self, batch: Any, rng: torch.Generator) -> LossOutput:
        """Training loss. Every draw comes from `rng` and a row's place in the whole batch, not from its batch mates,
        so that rows dealt to several processes draw what they would have drawn together.

        Called by the training step.
        """

    @abstractmethod
    def residuals(self, batch: Any, seed: int) -> RowResiduals:
        """Unweighted residuals with fixed noise and times: a row's value depends on that row and `seed` alone.

        Called by validation, and before and after training.
        """

    @abstractmethod
    def synthesize(
        self,
        texts: Sequence[str],
        voice: Any,
        seed: int | Sequence[int],
        temperature: float | None = None,
        num_steps: int | None = None,
        cfg_coef: float | None = None,
    ) -> list[Synthesis]:
        """One utterance for each text, with noise of its own from (seed, index).

        Settings that are None are those of `playing`, and where these are None too, those of the model.

        A sequence of seeds holds one for each text, which then draws what a call with it alone would: from (its seed,
        0). `noise_places` gives these pairs. Called by the evaluation and by the synthesize command.

        Raises UserError for settings that the system cannot speak with.
        """

    @abstractmethod
    def load_voice(self, source: str | Path, text: str | None = None) -> Any:
        """A voice for `synthesize` from an audio file, a saved voice or the name of an upstream voice.

        Args:
            text: what the recording says, where it is known (see `text_beside`). Most systems do not need it.

        Called by the evaluation, the synthesize command and `export`.

        Raises UserError where the file is missing or unreadable, or a text that the system needs is not given.
        """

    @abstractmethod
    def export(self, directory: Path, voice_prompt: Path) -> None:
        """Write files that the unmodified upstream package loads, with the recording `voice_prompt` as their voice.

        Called at the end of a run and by the export command.

        Raises UserError where the folder cannot be written or holds something else.
        """

    # ---- What has a default ----

    def check_text(self, text: str) -> None:
        """Raises UserError where nothing of a text reaches the model, or more than it can take.

        Called for every text that is trained on or spoken. By default a text needs one letter or digit.
        """
        if not any(character.isalnum() for character in text):
            raise UserError(f"The text {text!r} has no letter or digit: write some words.")

    def check_utterance(self, utterance: Utterance) -> None:
        """Raises UserError where a clip's text, in its language, cannot be trained on; by default as `check_text`.

        Called for every clip that is trained on. A model of one language does not ask which one a list gives a clip.
        """
        self.check_text(utterance.text)

    def language_of(self, utterance: Utterance) -> str:
        """The language that a recording is read in: by default the model's one.

        Called by the evaluation, which speaks sentences of `language` alone.
        """
        return self.language

    def text_coverage(self, text: str) -> TextCoverage:
        """Which characters of a text do not reach the model as they are written; by default all do.

        Called for every text of a run, which then reports what is lost.
        """
        return TextCoverage()

    def exclusion_reason(self, num_frames: int) -> str | None:
        """Why a clip of this length cannot train, in words for excluded.jsonl; None (the default) where it can.

        Called while recordings are prepared.
        """
        return None

    def synthesis_fingerprint(self, text: str) -> str:
        """A text as the model reads it, and the settings that it speaks with.

        Together with the weights, the voice and the seed this decides what `synthesize` says. Called by the evaluation,
        which keeps audio by it. By default the text itself and every plain setting that the adapter holds.
        """
        plain = (str, int, float, bool, Playing)
        settings = {name: value for name, value in vars(self).items() if isinstance(value, plain)}
        return f"{text.strip()} {sorted(item for item in settings.items() if item[0] != 'training')}"

    def prompt_pool(self, clips: Sequence[EncodedUtterance]) -> PromptPool:
        """The clips from which training and validation rows are prompted. Called by the data module."""
        return PromptPool(clips, self.prompts_itself) if self.uses_prompts else PromptPool([])

    def prompts_itself(self, clip: EncodedUtterance) -> bool:
        """Whether a clip's own beginning is its prompt, instead of another clip. Called by the pool for every draw.

        By default no clip's is: the model would be told what to say.
        """
        return False

    def play_as(self, playing: Playing) -> None:
        """Let `synthesize` and `stream` draw speech in another way. Called before anything is spoken or written.

        Raises UserError for settings that the system cannot speak with.
        """
        self.playing = playing

    def quantized(self) -> Self:
        """An adapter that speaks with int8 weights made of this one's, which takes less time on a CPU.

        This adapter stays as it is. What is not int8 is shared, so the other one is to be used while this one keeps
        its weights. Called by the evaluate and synthesize commands when what was trained is in place.

        Raises UserError where the system cannot be played so (the default), and where the adapter is on a GPU.
        """
        raise UserError(f"{self.name} cannot be played with int8 weights: leave --quantize out.")

    def load_voices(self, sources: Sequence[Path]) -> Any:
        """One voice of several recordings, with their texts beside them where these are known (see `text_beside`).

        By default the recordings are joined up to what the system hears, and `load_voice` makes a voice of that.
        Called by the library of voices.

        Raises UserError as `load_voice` does.
        """
        if len(sources) == 1:
            return self.load_voice(sources[0], text_beside(sources[0]))
        with tempfile.TemporaryDirectory() as folder:
            joined = Path(folder) / "voice.wav"
            write_wav(joined, join_recordings(sources, self.sample_rate_hz, self.max_voice_sec), self.sample_rate_hz)
            texts = [text_beside(source) for source in sources]
            return self.load_voice(joined, None if None in texts else " ".join(map(str, texts)))

    def tuned_voice(self, source: str | Path, text: str | None = None) -> Any:
        """The voice that was tuned to, of a recording of it: as `load_voice`, with what was learned of the voice.

        Called by the evaluation and by `export`. By default the weights alone hold what was learned.

        Raises UserError as `load_voice` does.
        """
        return self.load_voice(source, text)

    def without_learned_voice(self) -> AbstractContextManager[None]:
        """Within the context nothing was learned of a voice: `loss`, `residuals` and voices are as the weights say.

        Called where the base is judged, and where the model is in other voices than the tuned one.
        """
        return nullcontext()

    def save_voice(self, voice: Any, path: Path) -> None:
        """Write a voice as a file that `load_voice` reads back; its suffix is `voice_suffix`.

        Called by the library of voices. By default a system keeps no voices, and they are made again of the recording.

        Raises UserError where the system keeps none.
        """
        raise UserError(f"{self.name} keeps no voices: pass a recording of the voice.")

    def voice_fingerprint(self) -> str:
        """A hash of every weight and setting that shapes a voice. Called by the library, whose files are named by it.

        By default of all weights.
        """
        digest = hashlib.blake2b(self.name.encode())
        add_tensors(digest, self.state_dict().items())
        return digest.hexdigest()[:16]

    def stream(self, text: str, voice: Any, seed: int) -> Iterator[Tensor]:
        """What `synthesize([text], voice, seed)` says, in pieces [T] as soon as each can be played.

        Called by whoever plays while the model speaks. By default the whole in one piece.
        """
        yield self.synthesize([text], voice, seed)[0].audio

    def reconstruct(self, audio: Tensor) -> Tensor | None:
        """A recording's [T] round trip through the system's codec; None (the default) where it has none.

        Called by the evaluation, which reports what the codec alone loses.
        """
        return None

    def reducible_weights(self) -> list[nn.Parameter]:
        """The weights that an export may hold in bfloat16 or float16, because upstream loads such files.

        Called when an export is written and judged. None by default: then exports are float32.
        """
        return []

    def export_as(self, dtype: torch.dtype) -> None:
        """Let `export` store weights in another type. Called before anything is trained or written.

        Raises UserError where the system's exports are float32, and for weights that the type cannot hold.
        """
        weights = self.reducible_weights()
        if dtype != torch.float32 and not weights:
            raise UserError(
                f"{self.name} writes its exports in float32 alone: leave the dtype {name_of(dtype)} out, or take fp32."
            )
        check_range(weights, dtype)
        self.export_dtype = dtype

    def as_exported(self) -> AbstractContextManager[None]:
        """Within the context the adapter has the weights that its export holds, rounded to their type.

        Called when an export is written and judged. Raises UserError for weights that the type cannot hold.
        """
        return rounded(self.reducible_weights(), self.export_dtype)

    def how_to_play(self, directory: Path) -> str:
        """The command that plays an export; by default the project's own. Called at the end of a run."""
        return command_line("synthesize", [directory, "--text", "Hello there.", "--output", "hello.wav"])

    def describe(self) -> str:
        """The model in a few words, for a run's first line and run.json."""
        return f"{self.name} ({sum(p.numel() for p in self.parameters()) / 1e6:.1f}M parameters)"


class KeepsTrunk(ABC):
    """For an adapter whose loss begins with layers that may be frozen: what these make of a row is computed once."""

    trunk_cache: FeatureCache | None = None
    """Where it is kept. `collate` puts what it finds there into a batch, and `loss` and `residuals` go on from it."""

    @abstractmethod
    def trunk_fingerprint(self) -> str | None:
        """A hash of every weight and setting that shapes `trunk_outputs`; None where these change during training.

        Called when it is settled what trains.
        """

    @abstractmethod
    def trunk_key(self, example: Example) -> str:
        """The name under which the cache holds the outputs for a row: a hash of all that enters the frozen layers."""

    @abstractmethod
    def trunk_outputs(self, examples: Sequence[Example]) -> list[Features]:
        """The frozen layers' outputs for each row, on the CPU and without padding.

        Called before training, once for each row that training may draw.
        """


class LearnsVoice(ABC):
    """For an adapter that is conditioned on a voice of which parts can be learned, in the place of weights.

    What is learned is a component of role `voice`, whose parameters are the adapter's from when it is added. The base
    is what there is `without_learned_voice`. Called by strategies.
    """

    @abstractmethod
    def learn_speaker_offset(self) -> None:
        """Add `voice.speaker_offset`, unless it is there: zeros, which are added to the embeddings of speakers."""

    @abstractmethod
    def learn_prompt(self, num_tokens: int) -> None:
        """Add `voice.prompt`, unless it is there: embeddings [num_tokens, D] in the place of a recording's tokens.

        Raises UserError for more tokens than a prompt can have.
        """

    @abstractmethod
    def start_prompt(self, clips: Iterable[Features]) -> None:
        """Let a prompt that was just added begin with what the model makes of training clips."""

    @abstractmethod
    def is_left_out_of(self, voice: Any) -> bool:
        """Whether something was learned that this voice lacks. Called by the synthesize command, which says so."""


class HasFittedState(ABC):
    """For an adapter that takes something from the training data that its checkpoints must hold."""

    @abstractmethod
    def fitted_state(self) -> dict[str, Tensor]:
        """What was taken from the data: parameters and buffers, by name.

        Called by strategies: a checkpoint holds them beside what trains, and puts them into a model as it was released.
        """


class FitsVocabulary(HasFittedState):
    """For an adapter that makes room in its vocabulary for what the texts hold."""

    @abstractmethod
    def fit_vocabulary(self, texts: Iterable[str]) -> None:
        """Take in what the texts of all recordings hold and the vocabulary lacks: a function of the set of texts.

        Called once, before anything else is asked of the model.

        Raises UserError where there is no room.
        """

    @abstractmethod
    def take_vocabulary(self, state: Mapping[str, Tensor]) -> None:
        """Become the base of a run again, as `fit_vocabulary` left it, by what a checkpoint holds."""

    @abstractmethod
    def renew_vocabulary(self) -> None:
        """Read texts by what `fitted_state` holds now. Called by strategies behind a change of it."""


class FitsStatistics(HasFittedState):
    """For an adapter that takes statistics from the training data, as a model trained from scratch does."""

    @abstractmethod
    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Set the statistics from the features of all training clips. Called once, before the first step."""
