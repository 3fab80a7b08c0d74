"""Pocket TTS as a `TTSAdapter`: rows, objective, EOS loss, synthesis and export around the stock modules.

The module's parameters are named as upstream names them (`flow_lm.*`, `mimi.*`), so that a checkpoint's keys
are the keys of the exported bundle.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.mimi import MimiModel
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState
from pocket_tts.quantization import RECOMMENDED_CONFIG, apply_dynamic_int8
from torch import Tensor, nn
from torch.nn import functional as F

from calm_ft.adapters.base import (
    Component,
    FitsStatistics,
    KeepsTrunk,
    LossOutput,
    LossTerm,
    RowResiduals,
    Synthesis,
    TTSAdapter,
    checked_language,
    noise_places,
)
from calm_ft.adapters.playing import Playing
from calm_ft.adapters.pocket_tts.anchor import ANCHOR_ROWS, Anchor
from calm_ft.adapters.pocket_tts.attention_guide import (
    guide_losses,
    guided_layer,
    projections_of,
    text_attention,
    tokens_said,
)
from calm_ft.adapters.pocket_tts.components import (
    checkpoint_layers,
    compile_layers,
    encoder_fingerprint,
    named_parts,
    trunk_trains,
    voice_fingerprint,
)
from calm_ft.adapters.pocket_tts.export import CONFIG, VOICE, Card, write_bundle
from calm_ft.adapters.pocket_tts.fresh import initialize_flow_lm, latent_statistics
from calm_ft.adapters.pocket_tts.generation import GenerationSettings
from calm_ft.adapters.pocket_tts.head import FrameHead, compile_head, frame_head
from calm_ft.adapters.pocket_tts.loading import (
    is_miniature,
    is_released,
    language_of,
    load_config,
    load_tts,
    null_branch_on_card,
    words_of_miniature,
)
from calm_ft.adapters.pocket_tts.prompt_cut import (
    COLD_FRAMES,
    PromptLength,
    after_cut,
    boundaries,
    cut_at_word,
    cut_on_pause,
    trimmed,
    word_cuts,
)
from calm_ft.adapters.pocket_tts.rows import (
    Drawn,
    Hidden,
    PocketTTSBatch,
    Row,
    collate_rows,
    draws_of,
    drop_conditioning,
    eos_losses,
    head_rows,
    noise_on_inputs,
    normalized,
    row_residuals,
    teacher_forced,
)
from calm_ft.adapters.pocket_tts.synthesis import (
    MAX_PROMPT_SEC,
    MAX_ROWS,
    PREDEFINED_VOICES,
    load_voice,
    round_trip,
    save_voice,
    speak,
    stream,
)
from calm_ft.adapters.pocket_tts.text import PocketTTSText
from calm_ft.adapters.pocket_tts.trunk import (
    from_kept,
    frozen_fingerprint,
    joined,
    kept_outputs,
    num_frozen,
    row_key,
)
from calm_ft.adapters.quantization import check_on_cpu, with_own_children, with_own_modules
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.adapters.text_coverage import TextCoverage
from calm_ft.data.audio import Clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.flow.heads import head_time_conditions
from calm_ft.flow.objective import Objective
from calm_ft.flow.precision import multiplies_bfloat16
from calm_ft.randomness import make_rng

GUIDED_NUM_LAYERS = 24  # released models this deep keep a null branch; shallower ones are distilled without it
NULL_BRANCH_DROPOUT = 0.2
TEACHER_CFG_COEF = 2.0  # upstream's sample_cfg_coef for them (training/configs/finetune.yaml)
EULER_STEPS = 16
TRUNK_VERSION = "pocket_tts-1"  # to be raised with each change that changes what is kept
# It was trained with prompts of one short clip: with 8 s of three clips it read .17 of the characters of 24 sentences
# wrong, with 2.7 s of one .04.
USUAL_VOICE_OF_MINIATURE_SEC = (2.0, 5.0)
WEIGHTING_LR = 1e-3  # at 2e-5, the rate of fine-tuning, a learned weighting had hardly moved after 1000 steps


class PocketTTSAdapter(TTSAdapter, KeepsTrunk):
    """A released (or local) Pocket TTS with its weights and latent statistics."""

    max_synthesis_batch = MAX_ROWS
    max_voice_sec = MAX_PROMPT_SEC
    voice_suffix = ".safetensors"
    voice_names = tuple(PREDEFINED_VOICES)
    tts: TTSModel
    flow_lm: FlowLMModel
    mimi: MimiModel
    conditioning_dropout: float
    compiled_heads: dict[torch.dtype | None, FrameHead] | None = None
    """By the type of what they multiply; None where nothing is compiled."""

    def __init__(
        self,
        model: str,
        objective: Objective,
        local_dir: str | None = None,
        prompt: PromptLength | None = None,
        head_batch_multiplier: int = 4,
        eos_loss_weight: float = 0.1,
        conditioning_dropout: float | None = None,
        input_noise_std: float = 0.0,
        final_period_dropout: float = 0.3,
        attention_guide_weight: float = 0.0,
        anchor_weight: float = 0.0,
        anchor_rows: str = "all",
        gradient_checkpointing: bool = False,
        language: str | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: released config name, yaml, folder or hf:// yaml.
            local_dir: folder with the weights of `model`.
            head_batch_multiplier: draws of noise a frame (CALM uses 8; upstream 4); the objective's noise sampler says
                how many of them share their times.
            conditioning_dropout: None takes 0.2 for 24 layers and 0 for the distilled shallower models.
            input_noise_std: the most noise that is added, in training, to the latents that are fed back.
            final_period_dropout: how often a text's final period is left out, so that a text without one is spoken well
                (upstream's `final_punct_dropout`).
            attention_guide_weight: of the loss that teaches one attention head which word is said (clips with word
                times alone; `attention_guide`).
            anchor_weight: of the distance to what the base model itself makes of the same rows (`anchor`).
            anchor_rows: "all", or "replayed": those of `data.sources` alone.
            gradient_checkpointing: the backbone's activations are computed twice instead of kept.
            language: ISO 639-1 code of what the model speaks; None takes that of the released model or of its card.

        Raises UserError for every way in which the model cannot be had or trained.
        """
        super().__init__()
        if not isinstance(objective, Objective):
            raise UserError(
                f"Pocket TTS does not train by {type(objective).__name__}: choose objective=lsd or flow_matching, or "
                "adapter=chatterbox with an experiment made for it."
            )
        weights = {
            "anchor_weight": anchor_weight,
            "attention_guide_weight": attention_guide_weight,
            "eos_loss_weight": eos_loss_weight,
        }
        dropouts = {"conditioning_dropout": conditioning_dropout, "final_period_dropout": final_period_dropout}
        _check_settings(head_batch_multiplier, objective, dropouts, weights | {"input_noise_std": input_noise_std})
        self.model = model
        config = load_config(model, local_dir)
        tts = load_tts(config, origin=model if is_released(model) and local_dir is None else None)
        self._adopt(tts)
        self.is_miniature = self.embedded_recogniser_fits = is_miniature(config)
        if self.is_miniature:
            self.usual_voice_sec = USUAL_VOICE_OF_MINIATURE_SEC
        self.text = PocketTTSText(tts, words_of_miniature() if self.is_miniature else None)
        self.language = language_of(config) if language is None else checked_language(language)
        objective.check_head(tts.flow_lm.flow_net)
        self.objective = objective
        self.prompt = prompt or PromptLength()
        self.num_times = head_batch_multiplier // objective.noise_sampler.num_per_time
        self.eos_loss_weight = eos_loss_weight
        self.input_noise_std = input_noise_std
        self.final_period_dropout = final_period_dropout
        self.attention_guide_weight = attention_guide_weight
        self.is_deep = config.flow_lm.transformer.num_layers >= GUIDED_NUM_LAYERS
        usual_dropout = NULL_BRANCH_DROPOUT if self.is_deep else 0.0
        self.conditioning_dropout = usual_dropout if conditioning_dropout is None else conditioning_dropout
        self.has_null_branch = self.is_deep or self.conditioning_dropout > 0 or null_branch_on_card(config)
        self.anchor = self._anchored(anchor_weight, anchor_rows) if anchor_weight else None
        self.needs_replay = self.anchor is not None and self.anchor.rows == "replayed"
        if gradient_checkpointing:
            checkpoint_layers(self.flow_lm.transformer)

    def _anchored(self, weight: float, rows: str) -> Anchor:
        if rows not in ANCHOR_ROWS:
            raise UserError(f"adapter.anchor_rows={rows} is unknown: take all or replayed.")
        if head_time_conditions(self.flow_lm.flow_net) < 2:
            raise UserError(
                f"adapter.anchor_weight={weight:g} takes a model that speaks in one step, and the flow head of "
                f"{self.model} has no second time: leave it out."
            )
        return Anchor(self.flow_lm, weight, rows)

    def _adopt(self, tts: TTSModel) -> None:
        # Not a submodule: its parameters are registered below, under upstream's names.
        self.__dict__["tts"] = tts
        self.flow_lm, self.mimi = tts.flow_lm, tts.mimi
        self.sample_rate_hz = tts.sample_rate
        self.frame_rate_hz = tts.mimi.frame_rate
        self.name = "pocket_tts"

    def describe(self) -> str:
        transformer = self.tts.config.flow_lm.transformer
        num_parameters = sum(p.numel() for p in self.flow_lm.parameters())
        size = f"{transformer.num_layers} layers, {num_parameters / 1e6:.1f}M parameters"
        return f"Pocket TTS {self.model} ({size})"

    def components(self) -> Mapping[str, Component]:
        parts = named_parts(self.tts)
        if any(True for _ in self.objective.parameters()):
            parts["objective"] = Component(self.objective, "loss", lr=WEIGHTING_LR)
        return parts

    def feature_fingerprint(self) -> str:
        return encoder_fingerprint(self.tts) + ("" if self.prompt.own_beginning else "-uncut")

    @torch.no_grad()
    def encode(self, clips: Sequence[Clip]) -> list[Features]:
        """latents [T, C] raw codec latents; energy_db [T] frame energies, by which prompts are cut.

        Of clips with word times, where they may prompt themselves, also the beginning of what is left after a cut at a
        word, encoded by itself as at playing: cold_starts [W, COLD_FRAMES, C], and cuts [W], the frames of the cuts.
        """
        frame_size = self.mimi.frame_size
        features = []
        for clip in clips:
            samples = clip.samples.to(self.flow_lm.bos_emb.device)
            latents = self.mimi.encode_to_latent(samples[None, None])[0].float()
            padded = F.pad(clip.samples, (0, len(latents) * frame_size - len(clip.samples)))
            energy_db = 10 * torch.log10(padded.view(-1, frame_size).square().mean(dim=1) + 1e-12)
            features.append({"latents": latents.cpu(), "energy_db": energy_db} | self._cold_starts(clip, len(latents)))
        return features

    def _cold_starts(self, clip: Clip, num_frames: int) -> Features:
        cuts = sorted({round(sec * self.frame_rate_hz) for sec in boundaries(clip.utterance)})
        frames = [frame for frame in cuts if 0 < frame <= num_frames - COLD_FRAMES]
        if not frames or not self.prompt.own_beginning:
            return {}
        size = self.mimi.frame_size
        padded = F.pad(clip.samples, (0, num_frames * size - len(clip.samples)))
        pieces = torch.stack([padded[frame * size : (frame + COLD_FRAMES) * size] for frame in frames])
        latents = self.mimi.encode_to_latent(pieces[:, None].to(self.flow_lm.bos_emb.device)).float()
        return {"cold_starts": latents.cpu(), "cuts": torch.tensor(frames)}

    def num_frames(self, features: Features) -> int:
        return len(features["latents"])

    def check_text(self, text: str) -> None:
        self.text.tokens(text)

    def text_coverage(self, text: str) -> TextCoverage:
        return self.text.text_coverage(text)

    def synthesis_fingerprint(self, text: str) -> str:
        tts = self.tts
        drawn = f"{tts.temp} {tts.eos_threshold} {self.flow_lm.flow_type} {EULER_STEPS} {self.playing}"
        return f"{self.text.chunks(text)} {drawn}"

    def collate(self, examples: Sequence[Example]) -> PocketTTSBatch:
        rows = [self._row(example) for example in examples]
        batch = self._collate(rows)
        cache = self.trunk_cache
        keys = [] if cache is None else [row_key(row) for row in rows]
        if cache is None or not all(key in cache for key in keys):
            return batch
        return replace(batch, kept=joined([cache.read(key) for key in keys]))

    def _collate(self, rows: list[Row]) -> PocketTTSBatch:
        return collate_rows(rows, padding_token=self.tts.config.flow_lm.lookup_table.n_bins)

    def trunk_fingerprint(self) -> str | None:
        """None also where each step drops conditions, adds noise to the inputs or guides an attention."""
        changing = self.conditioning_dropout or self.input_noise_std or self.attention_guide_weight
        if changing or num_frozen(self.flow_lm) == 0:
            return None
        return f"{TRUNK_VERSION}-{frozen_fingerprint(self.flow_lm)}"

    def trunk_key(self, example: Example) -> str:
        return row_key(self._row(example))

    @torch.no_grad()
    def trunk_outputs(self, examples: Sequence[Example]) -> list[Features]:
        batch = self._collate([self._row(example) for example in examples])
        return kept_outputs(self.flow_lm, batch.to(self.flow_lm.bos_emb.device))

    def _row(self, example: Example) -> Row:
        target = example.target
        features, text = target.features(), target.utterance.text
        latents = features["latents"]
        prompt, prompt_id, words = latents[:0], None, target.utterance.words
        rng = make_rng(example.seed, "prompt_cut")
        if example.prompt is not None and example.prompt.utterance.id == target.utterance.id:
            cut = cut_at_word(target.utterance, len(latents), self.prompt, self.frame_rate_hz, rng)
            if cut is not None:
                prompt, latents, text = latents[: cut.num_frames], after_cut(features, cut.num_frames), cut.text
                words = cut.words
        elif example.prompt is not None:
            source, prompt_id = example.prompt.features(), example.prompt.utterance.id
            prompt = source["latents"][: cut_on_pause(source["energy_db"], self.prompt, self.frame_rate_hz, rng)]
        prompt = prompt[: trimmed(len(prompt), self.prompt, self.frame_rate_hz, rng)]
        final_period = not self._drops_final_period(example.seed)
        said = None
        if self.attention_guide_weight and words is not None:
            spans = self.text.word_spans(text, final_period)
            said = tokens_said(words, spans, len(latents), self.frame_rate_hz)
        tokens = self.text.tokens(text, final_period)
        replayed = target.utterance.is_replayed
        return Row(target.utterance.id, latents, tokens, prompt, example.place, prompt_id, said, replayed)

    def _drops_final_period(self, seed: int) -> bool:
        if self.final_period_dropout == 0:
            return False
        return float(torch.rand((), generator=make_rng(seed, "final_period"))) < self.final_period_dropout

    def prompts_itself(self, clip: EncodedUtterance) -> bool:
        cuts = word_cuts(clip.utterance, clip.num_frames, self.prompt, self.frame_rate_hz)
        return self.prompt.own_beginning and bool(cuts)

    def hidden(self, batch: PocketTTSBatch, input_noise: Tensor | None = None) -> Hidden:
        """The trunk: teacher-forced backbone outputs for every frame and the first one past each end.

        `input_noise` [B, T, C] is added to the normalised latents that are fed back, not to the targets.
        """
        lm = self.flow_lm
        x1 = normalized(lm, batch)
        fed_back = x1 if input_noise is None else x1 + input_noise
        with torch.set_grad_enabled(torch.is_grad_enabled() and trunk_trains(lm)):
            if batch.kept is not None and input_noise is None:
                return Hidden(from_kept(lm, batch, batch.kept), x1, batch)
            if not self.attention_guide_weight:
                return Hidden(teacher_forced(lm, batch, fed_back)[0], x1, batch)
            with projections_of(guided_layer(lm.transformer)) as projected:
                z, prefix_lengths = teacher_forced(lm, batch, fed_back)
            return Hidden(z, x1, batch, self._text_attention(projected[0], batch, prefix_lengths))

    def _text_attention(self, projected: Tensor, batch: PocketTTSBatch, prefix_lengths: Tensor) -> Tensor:
        attention, num_frames = guided_layer(self.flow_lm.transformer), batch.latents.shape[1]
        text_starts = prefix_lengths - batch.text_mask.sum(dim=1)
        num_tokens = batch.text_tokens.shape[1]
        return text_attention(attention, projected, text_starts, num_tokens, prefix_lengths, num_frames)

    def head_loss(self, hidden: Hidden, seed: int) -> LossOutput:
        """Objective on the valid frames (several draws each) plus binary cross-entropy of the EOS head.

        Under bf16 autocast the flow head multiplies numbers of bfloat16 too, and keeps the rest in float32.
        """
        net = self.flow_lm.flow_net
        cond, x1, draws = head_rows(self.objective, net, hidden, self.num_times, seed)
        head = self._frame_head(torch.bfloat16 if multiplies_bfloat16(cond.device) else None)
        flow = self.objective.evaluate(head, cond, x1, draws)
        batch = hidden.batch
        num_frames = sum(batch.lengths)
        num_eos = num_frames + len(batch.lengths)
        eos = eos_losses(self.flow_lm, hidden).sum()
        terms = {name: LossTerm(term.weight, term.loss_sum, term.num_rows) for name, term in flow.terms.items()}
        terms["eos"] = LossTerm(self.eos_loss_weight, eos, num_eos)
        parts = {**flow.parts, "eos": eos.detach() / num_eos}
        if hidden.log_attention is not None:
            guide = guide_losses(hidden.log_attention, batch.said)
            terms["attention_guide"] = LossTerm(self.attention_guide_weight, guide.sum(), guide.numel())
            parts["attention_guide"] = guide.detach().sum() / max(1, guide.numel())
        return LossOutput(terms, parts, num_frames)

    def _frame_head(self, products: torch.dtype | None) -> FrameHead:
        """A compiled head is kept, for torch.compile knows a module by its identity."""
        if self.compiled_heads is None:
            return frame_head(self.flow_lm.flow_net, products)
        if products not in self.compiled_heads:
            self.compiled_heads[products] = frame_head(self.flow_lm.flow_net, products)
            compile_head(self.compiled_heads[products])
        return self.compiled_heads[products]

    def compile_training(self) -> None:
        compile_layers(self.flow_lm.transformer)
        self.__dict__["compiled_heads"] = {}

    def with_draws(self, batch: PocketTTSBatch, rng: torch.Generator) -> PocketTTSBatch:
        seed = _seed_of_loss(rng)
        return replace(batch, drawn=Drawn(seed, draws_of(self.objective, batch, self.num_times, seed)))

    def loss(self, batch: PocketTTSBatch, rng: torch.Generator) -> LossOutput:
        seed = _seed_of_loss(rng)
        if self.conditioning_dropout:
            batch = drop_conditioning(batch, self.conditioning_dropout, seed)
        noise = noise_on_inputs(batch, self.input_noise_std, seed) if self.input_noise_std else None
        hidden = self.hidden(batch, noise)
        output = self.head_loss(hidden, seed)
        if self.anchor is None:
            return output
        fed_back = hidden.x1 if noise is None else hidden.x1 + noise
        term = self.anchor.term(self.flow_lm, hidden, fed_back, self.tts.temp, seed)
        parts = output.parts | {"anchor": term.sum.detach() / max(1, term.count)}
        return replace(output, terms=output.terms | {"anchor": term}, parts=parts)

    @torch.no_grad()
    def residuals(self, batch: PocketTTSBatch, seed: int) -> RowResiduals:
        return row_residuals(self.flow_lm, self.hidden(batch), self.tts.temp, seed)

    def load_voice(self, source: str | Path, text: str | None = None) -> ModelState:
        return load_voice(self.tts, source)

    def save_voice(self, voice: ModelState, path: Path) -> None:
        save_voice(voice, path)

    def voice_fingerprint(self) -> str:
        return voice_fingerprint(self.tts)

    def synthesize(
        self,
        texts: Sequence[str],
        voice: ModelState,
        seed: int | Sequence[int],
        temperature: float | None = None,
        num_steps: int | None = None,
        cfg_coef: float | None = None,
    ) -> list[Synthesis]:
        chunks = [self.text.chunks(text) for text in texts]
        rngs = [make_rng(seed, "synthesis", index) for seed, index in noise_places(seed, len(texts))]
        settings = self._generation_settings(self.playing.but(temperature, num_steps, cfg_coef))
        return speak(self.tts, voice, chunks, rngs, settings)

    def stream(self, text: str, voice: ModelState, seed: int) -> Iterator[Tensor]:
        rng = make_rng(seed, "synthesis", 0)
        yield from stream(self.tts, voice, self.text.chunks(text), rng, self._generation_settings(self.playing))

    def _generation_settings(self, playing: Playing) -> GenerationSettings:
        euler = self.flow_lm.flow_type == "flow_matching"
        return GenerationSettings(
            self.tts.temp if playing.temperature is None else playing.temperature,
            (EULER_STEPS if euler else 1) if playing.num_steps is None else playing.num_steps,
            self.tts.eos_threshold,
            self._guidance(playing),
        )

    def _guidance(self, playing: Playing) -> float:
        """Raises UserError where guidance is asked of a model that has no null branch to be guided away from."""
        if playing.cfg_coef is None:
            return TEACHER_CFG_COEF if self.is_deep else 1.0
        if playing.cfg_coef != 1 and not self.has_null_branch:
            raise UserError(
                f"Guidance (cfg_coef {playing.cfg_coef:g}) takes a null branch, and {self.model} has none: released "
                "models with fewer than 24 layers have guidance built in. Leave it out, or take a 24-layer model, or "
                "one that was trained with adapter.conditioning_dropout."
            )
        return playing.cfg_coef

    def play_as(self, playing: Playing) -> None:
        self._guidance(playing)
        super().play_as(playing)

    def quantized(self) -> Self:
        """By the stock package's own quantisation, as its `--quantize`: the backbone's linear layers."""
        check_on_cpu(self)
        tts, copied = with_own_children(self.tts), with_own_children(self)
        tts.flow_lm = with_own_children(self.flow_lm)
        tts.flow_lm.transformer = with_own_modules(self.flow_lm.transformer)
        with quiet_and_unchanged():
            apply_dynamic_int8(tts.flow_lm, RECOMMENDED_CONFIG)
        copied._adopt(tts)
        return copied

    def reconstruct(self, audio: Tensor) -> Tensor:
        return round_trip(self.tts, audio)

    def reducible_weights(self) -> list[nn.Parameter]:
        return list(self.tts.parameters())

    def export(self, directory: Path, voice_prompt: Path) -> None:
        with self.as_exported():
            card = Card(self.model, self.language, self.has_null_branch, self.export_dtype)
            write_bundle(self.tts, directory, self.load_voice(voice_prompt), card)

    def how_to_play(self, directory: Path) -> str:
        config, voice = (shlex.quote(str(directory / name)) for name in (CONFIG, VOICE))
        return f'pocket-tts generate --config {config} --voice {voice} --text "Hello there." --output-path hello.wav'


class FreshPocketTTSAdapter(PocketTTSAdapter, FitsStatistics):
    """The same architecture with a FlowLM from scratch over the model's codec and tokenizer."""

    def __init__(self, seed: int, conditioning_dropout: float | None = None, **settings: Any) -> None:
        """conditioning_dropout: None is 0.2 at any depth, for the null branch is to be learned."""
        dropout = NULL_BRANCH_DROPOUT if conditioning_dropout is None else conditioning_dropout
        super().__init__(conditioning_dropout=dropout, **settings)
        if self.anchor is not None:
            raise UserError("adapter.anchor_weight holds a model to its base, and a new model has none: leave it out.")
        initialize_flow_lm(self.flow_lm, seed)

    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Exact mean and standard deviation of the training latents.

        Raises UserError where a latent channel does not vary.
        """
        statistics = latent_statistics(features)
        self.flow_lm.emb_mean.copy_(statistics.mean)
        self.flow_lm.emb_std.copy_(statistics.std)

    def fitted_state(self) -> dict[str, Tensor]:
        return {"flow_lm.emb_mean": self.flow_lm.emb_mean, "flow_lm.emb_std": self.flow_lm.emb_std}


def _seed_of_loss(rng: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=rng))


def _check_settings(
    head_batch_multiplier: int,
    objective: Objective,
    dropouts: Mapping[str, float | None],
    at_least_zero: Mapping[str, float],
) -> None:
    if head_batch_multiplier < 1:
        raise UserError(f"adapter.head_batch_multiplier must be at least 1, not {head_batch_multiplier}.")
    if head_batch_multiplier % objective.noise_sampler.num_per_time:
        raise UserError(
            f"adapter.head_batch_multiplier={head_batch_multiplier} is odd, but mirrored draws of noise come in pairs: "
            "choose an even number, or objective/noise_sampler=independent."
        )
    for name, dropout in dropouts.items():
        if dropout is not None and not 0 <= dropout < 1:
            raise UserError(f"adapter.{name} is a probability below 1, not {dropout}.")
    for name, value in at_least_zero.items():
        if not value >= 0:
            raise UserError(f"adapter.{name} must not be negative, but is {value}.")
