"""Chatterbox as a `TTSAdapter`: packed rows, losses, synthesis and export around the stock modules.

The module's parameters are named `t3.*`, `s3gen.*` and `voice_encoder.*`; behind these prefixes the names are
upstream's own, as in the files of an export.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from chatterbox.tts import Conditionals

from calm_ft.adapters.base import (
    Component,
    KeepsTrunk,
    LossOutput,
    RowResiduals,
    Synthesis,
    TTSAdapter,
    checked_language,
    noise_places,
)
from calm_ft.adapters.chatterbox import features as chatterbox_features
from calm_ft.adapters.chatterbox import trunk
from calm_ft.adapters.chatterbox.export import how_to_play, write_export
from calm_ft.adapters.chatterbox.files import NAME, S3GEN_WEIGHTS, T3_WEIGHTS
from calm_ft.adapters.chatterbox.loading import load_models
from calm_ft.adapters.chatterbox.models import named_parts
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch, ChatterboxObjective, collate
from calm_ft.adapters.chatterbox.synthesis import MIN_PROMPT_TOKENS, SamplingSettings, load_voice, speak
from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy
from calm_ft.adapters.chatterbox.text import ChatterboxText
from calm_ft.adapters.playing import Playing
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.adapters.text_coverage import TextCoverage
from calm_ft.data.audio import Clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features
from calm_ft.errors import UserError
from calm_ft.randomness import derive_seed

TEMPERATURE, FLOW_STEPS = 0.8, 10  # upstream's
KEPT = "kept"
TRUNK_VERSION = "chatterbox-1"  # to be raised with each change that changes what is kept


class ChatterboxAdapter(TTSAdapter, KeepsTrunk):
    """The English Chatterbox, of which the objective says what trains."""

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
        super().__init__()
        if not isinstance(objective, ChatterboxObjective):
            raise UserError(
                f"Chatterbox does not train by {type(objective).__name__}: choose experiment=chatterbox_t3, "
                "chatterbox_s3gen, chatterbox_full or chatterbox_lora."
            )
        if not cfg_weight > 0:
            raise UserError(
                f"adapter.cfg_weight={cfg_weight} must be more than 0: upstream's generation needs guidance."
            )
        if not prompt_sec > 0:
            raise UserError(f"adapter.prompt_sec={prompt_sec} must be more than 0.")
        self.model = model
        self.objective = objective
        self.models = load_models(model, local_dir, seed)
        self.t3, self.s3gen, self.voice_encoder = self.models.t3, self.models.s3gen, self.models.voice_encoder
        self.max_speech_tokens = self._checked("max_speech_tokens", max_speech_tokens)
        self.text = ChatterboxText(self.models.tokenizer, self.t3.hp, self._checked("max_text_tokens", max_text_tokens))
        self.prompt_sec = prompt_sec
        self.exaggeration = exaggeration
        self.cfg_weight = cfg_weight
        self.name = NAME
        self.language = checked_language(language)
        self.is_miniature = self.models.is_tiny
        self.sample_rate_hz = chatterbox_features.SAMPLE_RATE_HZ
        self.frame_rate_hz = float(chatterbox_features.TOKENS_PER_SEC)
        if gradient_checkpointing:
            with quiet_and_unchanged():
                self.t3.tfmr.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.eval()

    def _checked(self, name: str, limit: int) -> int:
        """A limit that the model's table of positions holds."""
        most = int(getattr(self.t3.hp, name))
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
            raise UserError(f"adapter.{name}={limit} must be an integer from 1 to {most}, the model's own limit.")
        return limit

    def describe(self) -> str:
        sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        shown = ", ".join(f"{name} {size / 1e6:.1f}M" for name, size in sizes.items())
        return f"Chatterbox {self.model} ({shown})"

    def components(self) -> Mapping[str, Component]:
        return named_parts(self.models, self.objective.reaches)

    def feature_fingerprint(self) -> str:
        return chatterbox_features.fingerprint(self.models, self.prompt_sec)

    def encode(self, clips: Sequence[Clip]) -> list[Features]:
        """speech_tokens [N], mel [2N, 80], speaker_embedding [256], x_vector [192], prompt_tokens [P]."""
        return [chatterbox_features.encode_clip(self.models, clip.samples, self.prompt_sec) for clip in clips]

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
        drawn = self._sampling_settings(self.playing)
        return f"{self.text.tokens(text).tolist()} {drawn} {self.prompt_sec} {self.exaggeration}"

    def collate(self, examples: Sequence[Example]) -> ChatterboxBatch:
        batch = self._collate(examples)
        if self.trunk_cache is None:
            return batch
        cache, keys = self.trunk_cache, [self.trunk_key(example) for example in examples]
        if not all(key in cache for key in keys):
            return batch
        return replace(batch, kept=trunk.joined([cache.read(key)[KEPT] for key in keys]))

    def _collate(self, examples: Sequence[Example]) -> ChatterboxBatch:
        texts = [self.text.tokens(example.target.utterance.text) for example in examples]
        return collate(examples, texts, self.exaggeration)

    def trunk_fingerprint(self) -> str | None:
        """None also where T3 does not train alone."""
        if not isinstance(self.objective, T3CrossEntropy) or trunk.num_frozen(self.t3) == 0:
            return None
        return f"{TRUNK_VERSION}-{int(self.objective.double_start)}-{trunk.frozen_fingerprint(self.t3)}"

    def trunk_key(self, example: Example) -> str:
        return trunk.row_key(self._collate([example]))

    @torch.no_grad()
    def trunk_outputs(self, examples: Sequence[Example]) -> list[Features]:
        assert isinstance(self.objective, T3CrossEntropy)
        batch = self._collate(examples).to(next(self.t3.parameters()).device)
        return [{KEPT: row.cpu()} for row in self.objective.kept_rows(self.models, batch)]

    def loss(self, batch: ChatterboxBatch, rng: torch.Generator) -> LossOutput:
        seed = int(torch.randint(2**62, (), generator=rng))
        output = self.objective.terms(self.models, batch, seed)
        return LossOutput(output.terms, output.parts, int(batch.num_frames.sum()))

    @torch.no_grad()
    def residuals(self, batch: ChatterboxBatch, seed: int) -> RowResiduals:
        return RowResiduals(self.objective.residuals(self.models, batch, seed), batch.num_frames)

    def load_voice(self, source: str | Path, text: str | None = None) -> Conditionals:
        return load_voice(self.models, source, self.prompt_sec, self.exaggeration)

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
        settings = self._sampling_settings(self.playing.but(temperature, num_steps, cfg_coef))
        return [
            speak(self.models, voice, self.text.tokens(text), derive_seed(place[0], "synthesis", place[1]), settings)
            for text, place in zip(texts, noise_places(seed, len(texts)), strict=True)
        ]

    def _sampling_settings(self, playing: Playing) -> SamplingSettings:
        if playing.temperature == 0:
            raise UserError("A temperature of 0 leaves Chatterbox nothing to draw: give more than 0.")
        if playing.cfg_coef is not None and not playing.cfg_coef > 1:
            raise UserError(
                f"Guidance (cfg_coef {playing.cfg_coef:g}) must be above 1: upstream's generation needs it."
            )
        return SamplingSettings(
            TEMPERATURE if playing.temperature is None else playing.temperature,
            FLOW_STEPS if playing.num_steps is None else playing.num_steps,
            self.cfg_weight if playing.cfg_coef is None else playing.cfg_coef - 1,
            self.max_speech_tokens,
        )

    def play_as(self, playing: Playing) -> None:
        self._sampling_settings(playing)
        super().play_as(playing)

    def export(self, directory: Path, voice_prompt: Path) -> None:
        reached = {name.partition(".")[0] for name, part in self.components().items() if part.trainable}
        changed = [name for network, name in (("t3", T3_WEIGHTS), ("s3gen", S3GEN_WEIGHTS)) if network in reached]
        write_export(self.models, directory, self.load_voice(voice_prompt), changed, self.model)

    def how_to_play(self, directory: Path) -> str:
        return how_to_play(self.models, directory)
