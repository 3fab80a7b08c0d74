"""Chatterbox as a `TTSAdapter`: packed rows, losses, synthesis and export around the stock modules.

The module's parameters are named `t3.*`, `s3gen.*` and `voice_encoder.*`; behind these prefixes the names are
upstream's own, as in the files of an export. What the models of the family share is `ChatterboxFamilyAdapter`.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from chatterbox.tts import Conditionals
from torch import Tensor, nn

from calm_ft.adapters.base import (
    Component,
    KeepsTrunk,
    LearnsVoice,
    LossOutput,
    RowResiduals,
    Synthesis,
    TTSAdapter,
    checked_language,
    noise_places,
)
from calm_ft.adapters.chatterbox import features as chatterbox_features
from calm_ft.adapters.chatterbox import trunk
from calm_ft.adapters.chatterbox.export import StockClass, how_to_play, reducible_weights, write_export
from calm_ft.adapters.chatterbox.features import Hearing
from calm_ft.adapters.chatterbox.files import CONDITIONALS, ENGLISH, Release
from calm_ft.adapters.chatterbox.learned_voice import LearnedConditionals, LearnedVoice
from calm_ft.adapters.chatterbox.loading import COMPUTED_BUFFERS, Builders, load_models
from calm_ft.adapters.chatterbox.models import full_size, named_parts
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch, ChatterboxObjective, collate
from calm_ft.adapters.chatterbox.synthesis import (
    MIN_PROMPT_TOKENS,
    SamplingSettings,
    SpokenTokens,
    draw_with_guidance,
    load_voice,
    load_voices,
    read_voice,
    save_voice,
    speak,
)
from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy
from calm_ft.adapters.chatterbox.text import ChatterboxText
from calm_ft.adapters.chatterbox.tiny import TOKENIZER_FILES, tiny_models
from calm_ft.adapters.playing import Playing
from calm_ft.adapters.quantization import check_on_cpu, int8_linears, with_own_children, with_own_modules
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.adapters.text_coverage import TextCoverage
from calm_ft.data.audio import Clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.randomness import derive_seed

TEMPERATURE = 0.8  # upstream's
KEPT = "kept"
TRUNK_VERSION = "chatterbox-1"  # to be raised with each change that changes what is kept


class ChatterboxFamilyAdapter(TTSAdapter, KeepsTrunk, LearnsVoice):
    """What all models of the family do alike; the objective says what trains."""

    release: ClassVar[Release]
    builders: ClassVar[Builders]
    stock: StockClass
    """The class of the unmodified package that plays an export."""
    experiments: ClassVar[str]
    """The experiments made for the model, as a message lists them."""
    voice_suffix = ".pt"
    flow_steps: ClassVar[int]
    """Of S3Gen's flow when upstream speaks."""

    def __init__(
        self,
        model: str,
        objective: ChatterboxObjective,
        local_dir: str | None,
        max_text_tokens: int,
        max_speech_tokens: int,
        hearing: Hearing,
        exaggeration: float,
        gradient_checkpointing: bool,
        seed: int,
        language: str,
    ) -> None:
        """Load a model; the arguments are those of the models' own constructors.

        Raises UserError for every way in which the model cannot be had or trained.
        """
        super().__init__()
        if not isinstance(objective, ChatterboxObjective):
            raise UserError(
                f"{self._bare_title} does not train by {type(objective).__name__}: choose {self.experiments}."
            )
        self._check_objective(objective)
        if not hearing.prompt_sec > 0:
            raise UserError(f"adapter.prompt_sec={hearing.prompt_sec} must be more than 0.")
        self.model = model
        self.objective = objective
        self.models = load_models(self.release, self.builders, model, local_dir, seed)
        self.t3, self.s3gen, self.voice_encoder = self.models.t3, self.models.s3gen, self.models.voice_encoder
        self.voice = self._learned_before()
        self.max_speech_tokens = self._checked("max_speech_tokens", max_speech_tokens)
        self.hearing = hearing
        self.exaggeration = exaggeration
        self.name = self.release.name
        self.language = checked_language(language)
        self.text = self._text(self._checked("max_text_tokens", max_text_tokens))
        self.is_miniature = self.models.is_tiny
        self.sample_rate_hz = chatterbox_features.SAMPLE_RATE_HZ
        self.frame_rate_hz = float(chatterbox_features.TOKENS_PER_SEC)
        if gradient_checkpointing:
            with quiet_and_unchanged():
                self.t3.tfmr.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.eval()

    @property
    def _bare_title(self) -> str:
        return self.release.title.removeprefix("the English ")

    # ---- In what the models differ ----

    def _check_objective(self, objective: ChatterboxObjective) -> None:
        """Raises UserError where the model cannot train by it."""

    @abstractmethod
    def _text(self, max_text_tokens: int) -> ChatterboxText:
        """What prepares and tokenizes text as the model's stock generation does."""

    @abstractmethod
    def _sampling(self, playing: Playing) -> Any:
        """How T3's tokens are drawn, a frozen dataclass. Raises UserError for what the model cannot speak with."""

    @abstractmethod
    def _draw(self, voice: Conditionals, text_tokens: Tensor, sampling: Any) -> SpokenTokens:
        """Speech tokens from global random state, for text tokens [S]."""

    # ---- What they do alike ----

    def _learned_before(self) -> LearnedVoice:
        """What a voice among the model's files holds that was learned.

        Raises UserError where that file is damaged, and where the prompt was learned for another model.
        """
        path = self.models.files.get(CONDITIONALS)
        learned = LearnedVoice() if path is None else LearnedVoice.of(read_voice(path))
        if learned.prompt is not None and learned.prompt.embedding_dim != self.t3.dim:
            raise UserError(
                f"{path} holds a learned prompt of another model: put the voice that belongs to the weights there."
            )
        return learned

    def _checked(self, name: str, limit: int) -> int:
        """A limit that the model's table of positions holds."""
        most = int(getattr(self.t3.hp, name))
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
            raise UserError(f"adapter.{name}={limit} must be an integer from 1 to {most}, the model's own limit.")
        return limit

    def describe(self) -> str:
        networks = {name: part for name, part in self.named_children() if part is not self.voice}
        sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in networks.items()}
        shown = ", ".join(f"{name} {size / 1e6:.1f}M" for name, size in sizes.items())
        return f"{self._bare_title} {self.model} ({shown})"

    def components(self) -> Mapping[str, Component]:
        voice = self.voice.components(self.objective.reaches("t3.conditioning"))
        return {**named_parts(self.models, self.objective.reaches), **voice}

    def feature_fingerprint(self) -> str:
        return chatterbox_features.fingerprint(self.models, self.hearing)

    def encode(self, clips: Sequence[Clip]) -> list[Features]:
        """speech_tokens [N], mel [2N, 80], speaker_embedding [256], x_vector [192], prompt_tokens [P]."""
        return [chatterbox_features.encode_clip(self.models, clip.samples, self.hearing) for clip in clips]

    def num_frames(self, features: Features) -> int:
        return len(features["speech_tokens"])

    def exclusion_reason(self, num_frames: int) -> str | None:
        seconds = num_frames / self.frame_rate_hz
        if num_frames > self.max_speech_tokens:
            return (
                f"the clip lasts {seconds:.1f} s, {num_frames} speech tokens, more than "
                f"adapter.max_speech_tokens={self.max_speech_tokens}"
            )
        if num_frames < MIN_PROMPT_TOKENS:
            return f"the clip lasts {seconds:.2f} s, too short for a voice prompt"
        return None

    def check_text(self, text: str) -> None:
        self.text.tokens(text)

    def text_coverage(self, text: str) -> TextCoverage:
        return self.text.text_coverage(text)

    def synthesis_fingerprint(self, text: str) -> str:
        drawn = (self._sampling(self.playing), self._num_steps(self.playing))
        return f"{self.text.tokens(text).tolist()} {drawn} {self.hearing} {self.exaggeration}"

    def _tokens(self, utterance: Utterance) -> Tensor:
        """A training clip's text as tokens [S]."""
        return self.text.tokens(utterance.text)

    def collate(self, examples: Sequence[Example]) -> ChatterboxBatch:
        batch = self._collate(examples)
        if self.trunk_cache is None:
            return batch
        cache, keys = self.trunk_cache, [self.trunk_key(example) for example in examples]
        if not all(key in cache for key in keys):
            return batch
        return replace(batch, kept=trunk.joined([cache.read(key)[KEPT] for key in keys]))

    def _collate(self, examples: Sequence[Example]) -> ChatterboxBatch:
        texts = [self._tokens(example.target.utterance) for example in examples]
        return collate(examples, texts, self.exaggeration)

    def trunk_fingerprint(self) -> str | None:
        """None also where T3 does not train alone, and where what enters its layers is learned."""
        if not isinstance(self.objective, T3CrossEntropy) or trunk.num_frozen(self.t3) == 0 or self.voice.trains:
            return None
        learned = "" if self.voice.is_empty else f"-{self.voice.fingerprint()}"
        return f"{TRUNK_VERSION}-{int(self.objective.double_start)}-{trunk.frozen_fingerprint(self.t3)}{learned}"

    def trunk_key(self, example: Example) -> str:
        return trunk.row_key(self._collate([example]))

    @torch.no_grad()
    def trunk_outputs(self, examples: Sequence[Example]) -> list[Features]:
        assert isinstance(self.objective, T3CrossEntropy)
        batch = self.voice.conditioning(self._collate(examples).to(next(self.t3.parameters()).device))
        return [{KEPT: row.cpu()} for row in self.objective.kept_rows(self.models, batch)]

    def loss(self, batch: ChatterboxBatch, rng: torch.Generator) -> LossOutput:
        seed = int(torch.randint(2**62, (), generator=rng))
        output = self.objective.terms(self.models, self.voice.conditioning(batch), seed)
        return LossOutput(output.terms, output.parts, int(batch.num_frames.sum()))

    @torch.no_grad()
    def residuals(self, batch: ChatterboxBatch, seed: int) -> RowResiduals:
        conditioned = self.voice.conditioning(batch)
        return RowResiduals(self.objective.residuals(self.models, conditioned, seed), batch.num_frames)

    def load_voice(self, source: str | Path, text: str | None = None) -> Conditionals:
        return load_voice(self.models, source, self.hearing, self.exaggeration)

    def load_voices(self, sources: Sequence[Path]) -> Conditionals:
        return load_voices(self.models, sources, self.hearing, self.exaggeration)

    def save_voice(self, voice: Conditionals, path: Path) -> None:
        save_voice(voice, path)

    def voice_fingerprint(self) -> str:
        return f"{chatterbox_features.fingerprint(self.models, self.hearing)}-{self.exaggeration:g}"

    def tuned_voice(self, source: str | Path, text: str | None = None) -> Conditionals:
        return self.voice.applied_to(self.load_voice(source, text))

    @contextmanager
    def without_learned_voice(self) -> Iterator[None]:
        learned, self.voice = self.voice, LearnedVoice()
        try:
            yield
        finally:
            self.voice = learned

    def learn_speaker_offset(self) -> None:
        self.voice.add_speaker_offset(self.t3)

    def learn_prompt(self, num_tokens: int) -> None:
        """Raises UserError also for more tokens than the model's prompts have."""
        most = self.t3.hp.speech_cond_prompt_len
        if num_tokens > most:
            raise UserError(
                f"strategy.num_tokens={num_tokens} must be an integer from 1 to {most}, the longest prompt that the "
                "model was made for."
            )
        self.voice.add_prompt(self.t3, num_tokens)

    def start_prompt(self, clips: Iterable[Features]) -> None:
        self.voice.start_prompt(self.t3, clips)

    def is_left_out_of(self, voice: Conditionals) -> bool:
        return not self.voice.is_empty and not isinstance(voice, LearnedConditionals)

    def synthesize(
        self,
        texts: Sequence[str],
        voice: Conditionals,
        seed: int | Sequence[int],
        temperature: float | None = None,
        num_steps: int | None = None,
        cfg_coef: float | None = None,
    ) -> list[Synthesis]:
        """One utterance a text; temperature is that of T3's softmax, num_steps those of S3Gen's flow."""
        playing = self.playing.but(temperature, num_steps, cfg_coef)
        sampling, steps = self._sampling(playing), self._num_steps(playing)
        spoken = []
        for text, (own_seed, index) in zip(texts, noise_places(seed, len(texts)), strict=True):
            draw = partial(self._draw, voice, self.text.tokens(text), sampling)
            spoken.append(speak(self.models, voice, draw, derive_seed(own_seed, "synthesis", index), steps))
        return spoken

    def _num_steps(self, playing: Playing) -> int:
        return self.flow_steps if playing.num_steps is None else playing.num_steps

    def _temperature(self, playing: Playing) -> float:
        if playing.temperature == 0:
            raise UserError("A temperature of 0 leaves Chatterbox nothing to draw: give more than 0.")
        return TEMPERATURE if playing.temperature is None else playing.temperature

    def play_as(self, playing: Playing) -> None:
        self._sampling(playing)
        super().play_as(playing)

    def quantized(self) -> Self:
        """The linear layers of T3's backbone; upstream asks T3's own heads for their device, so these stay.

        Raises UserError for Turbo too, whose backbone is a GPT-2.
        """
        check_on_cpu(self)
        t3, copied = with_own_children(self.t3), with_own_children(self)
        t3.tfmr = with_own_modules(self.t3.tfmr)
        int8_linears(t3.tfmr)
        copied.t3, copied.models = t3, replace(self.models, t3=t3)
        return copied

    def reducible_weights(self) -> list[nn.Parameter]:
        return reducible_weights(self.models)

    def export(self, directory: Path, voice_prompt: Path) -> None:
        with self.as_exported():
            self._export(directory, voice_prompt)

    def _export(self, directory: Path, voice_prompt: Path) -> None:
        reached = {name.partition(".")[0] for name, part in self.components().items() if part.trainable}
        files = {"t3": self.release.t3, "s3gen": self.release.s3gen}
        # Where the voice trains, nothing else does: whatever is learned is in conds.pt then.
        changed = [] if self.voice.trains else [name for network, name in files.items() if network in reached]
        voice = self.tuned_voice(voice_prompt)
        write_export(self.models, self.release, self.stock, directory, voice, changed, self.model, self.export_dtype)

    def how_to_play(self, directory: Path) -> str:
        return how_to_play(self.models, self.stock, directory)


class ChatterboxAdapter(ChatterboxFamilyAdapter):
    """The English Chatterbox, which speaks with guidance and an emotion."""

    release = ENGLISH
    builders = Builders(full_size, tiny_models, TOKENIZER_FILES, COMPUTED_BUFFERS)
    stock = StockClass("chatterbox.tts", "ChatterboxTTS")
    experiments = "experiment=chatterbox_t3, chatterbox_s3gen, chatterbox_full or chatterbox_lora"
    flow_steps = 10
    repetition_penalty: ClassVar[float] = 1.2

    def __init__(
        self,
        model: str,
        objective: ChatterboxObjective,
        local_dir: str | None = None,
        max_text_tokens: int = 256,
        max_speech_tokens: int = 1000,
        prompt_sec: float = 6.0,
        exaggeration: float = 0.5,
        cfg_weight: float = 0.5,
        gradient_checkpointing: bool = False,
        seed: int = 0,
        language: str = "en",
    ) -> None:
        """Load a model.

        Args:
            model: the hub's repository, or "tiny" for random weights at small size; local_dir: a folder with its files.
            max_text_tokens, max_speech_tokens: longer clips are left out; the latter bounds generation too.
            prompt_sec: how much of another clip prompts T3 at most; exaggeration: the emotion, from 0 to about 1.
            cfg_weight: guidance when speaking; upstream's code needs more than 0.
            gradient_checkpointing: the backbone's activations are computed twice instead of kept.
            seed: of the tiny model's weights; language: ISO 639-1 code of what the model speaks.

        Raises UserError for every way in which the model cannot be had or trained.
        """
        if not cfg_weight > 0:
            raise UserError(
                f"adapter.cfg_weight={cfg_weight} must be more than 0: upstream's generation needs guidance."
            )
        super().__init__(
            model,
            objective,
            local_dir,
            max_text_tokens,
            max_speech_tokens,
            Hearing(prompt_sec),
            exaggeration,
            gradient_checkpointing,
            seed,
            language,
        )
        self.cfg_weight = cfg_weight

    def _text(self, max_text_tokens: int) -> ChatterboxText:
        return ChatterboxText(self.models.tokenizer, self.t3.hp, max_text_tokens)

    def _sampling(self, playing: Playing) -> SamplingSettings:
        if playing.cfg_coef is not None and not playing.cfg_coef > 1:
            raise UserError(
                f"Guidance (cfg_coef {playing.cfg_coef:g}) must be above 1: upstream's generation needs it."
            )
        return SamplingSettings(
            self._temperature(playing),
            self.cfg_weight if playing.cfg_coef is None else playing.cfg_coef - 1,
            self.max_speech_tokens,
            self.repetition_penalty,
        )

    def _draw(self, voice: Conditionals, text_tokens: Tensor, sampling: SamplingSettings) -> SpokenTokens:
        return draw_with_guidance(self.models, voice, text_tokens, sampling)
