"""The adapter: ten methods, and what differs from the defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from calm_ft.adapters.base import (
    Component,
    LossOutput,
    LossTerm,
    RowResiduals,
    Synthesis,
    TTSAdapter,
    noise_places,
    text_beside,
)
from calm_ft.adapters.export_folder import check_target, write_folder
from calm_ft.data.audio import Clip, UnusableClip, load_clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng
from tests.outside_system import model as upstream
from tests.outside_system.model import NUM_BINS, SpectrumTTS, Voice, spectrum, spoken_characters, waveform

INPUT_NOISE = 0.1
USUAL_FRAMES_PER_CHARACTER = 3.0


@dataclass
class SpectrumBatch:
    """targets and before [B, T, 161]; characters [B, T]; voices [B, 161]; num_frames [B]; places of the rows."""

    targets: Tensor
    before: Tensor
    characters: Tensor
    voices: Tensor
    num_frames: Tensor
    utterance_ids: list[str]
    places: list[int]
    prompt_ids: list[str]

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.targets.shape[1], device=self.targets.device)[None] < self.num_frames[:, None]

    @property
    def padding_share(self) -> Tensor:
        return 1 - self.num_frames.sum() / self.mask.numel()


class SpectrumAdapter(TTSAdapter):
    name = "spectrum_tts"
    sample_rate_hz = upstream.SAMPLE_RATE_HZ
    frame_rate_hz = upstream.SAMPLE_RATE_HZ / upstream.HOP

    def __init__(self, model: str | None = None, width: int = 16, num_layers: int = 2, language: str = "en") -> None:
        """model: a folder with its files; None begins with random weights."""
        super().__init__()
        self.tts = SpectrumTTS(width, num_layers) if model is None else upstream.load(Path(model))
        self.language = language

    def components(self) -> Mapping[str, Component]:
        tts = self.tts
        layers = {f"decoder.{i}": Component(each, "layer", "decoder", i) for i, each in enumerate(tts.layers)}
        return {
            "text_embedding": Component(tts.text_embedding),
            "voice_projection": Component(tts.voice_projection),
            "frame_input": Component(tts.frame_input),
            **layers,
            "decoder.norm": Component(tts.output_norm, "output_norm", "decoder"),
            "frame_head": Component(tts.frame_head, "head", "decoder"),
            "stop_head": Component(tts.stop_head, "head", "decoder"),
        }

    def feature_fingerprint(self) -> str:
        return f"spectrum-1-{upstream.N_FFT}-{upstream.HOP}"

    def encode(self, clips: Sequence[Clip]) -> list[Features]:
        return [{"spectrum": spectrum(clip.samples)} for clip in clips]

    def num_frames(self, features: Features) -> int:
        return len(features["spectrum"])

    def collate(self, examples: Sequence[Example]) -> SpectrumBatch:
        targets = [example.target.features()["spectrum"] for example in examples]
        voices, characters, prompt_ids = [], [], []
        for example, target in zip(examples, targets, strict=True):
            voice = Voice(torch.zeros(NUM_BINS), torch.tensor(USUAL_FRAMES_PER_CHARACTER))
            if example.prompt is not None:
                voice = _voice(example.prompt.features()["spectrum"], example.prompt.utterance.text)
                prompt_ids.append(example.prompt.utterance.id)
            voices.append(voice.spectrum)
            text = example.target.utterance.text
            characters.append(spoken_characters(text, voice.frames_per_character, 0, len(target)))
        return SpectrumBatch(
            pad_sequence(targets, batch_first=True),
            pad_sequence([F.pad(each[:-1], (0, 0, 1, 0)) for each in targets], batch_first=True),
            pad_sequence(characters, batch_first=True),
            torch.stack(voices),
            torch.tensor([len(each) for each in targets]),
            [example.target.utterance.id for example in examples],
            [example.place for example in examples],
            prompt_ids,
        )

    def loss(self, batch: SpectrumBatch, rng: torch.Generator) -> LossOutput:
        seed = int(torch.randint(2**62, (), generator=rng))
        noise = [
            torch.randn(batch.before.shape[1:], generator=make_rng(seed, "noise", place)) for place in batch.places
        ]
        frames, stops = self._errors(batch, batch.before + INPUT_NOISE * torch.stack(noise).to(batch.before))
        count = int(batch.num_frames.sum())
        terms = {"frames": LossTerm(1.0, frames.sum(), count), "stops": LossTerm(0.1, stops.sum(), count)}
        parts = {"frames": frames.detach().sum() / count, "stops": stops.detach().sum() / count}
        return LossOutput(terms, parts, count)

    @torch.no_grad()
    def residuals(self, batch: SpectrumBatch, seed: int) -> RowResiduals:
        frames, stops = (errors.sum(dim=1) / batch.num_frames for errors in self._errors(batch, batch.before))
        return RowResiduals({"residual": frames, "stops": stops}, batch.num_frames)

    def _errors(self, batch: SpectrumBatch, before: Tensor) -> tuple[Tensor, Tensor]:
        """Errors of frames and of the stop [B, T], zero on padding."""
        frames, stops = self.tts(batch.characters, batch.voices, before)
        places = torch.arange(stops.shape[1], device=stops.device)[None]
        is_last = (places == batch.num_frames[:, None] - 1).to(stops)
        stop_errors = F.binary_cross_entropy_with_logits(stops, is_last, reduction="none")
        return (frames - batch.targets).square().mean(dim=2) * batch.mask, stop_errors * batch.mask

    def load_voice(self, source: str | Path, text: str | None = None) -> Voice:
        path = Path(source)
        if path.suffix == ".safetensors" and path.is_file():
            return Voice(**safetensors.torch.load_file(path))
        try:
            clip = load_clip(Utterance("voice", path, ""), self.sample_rate_hz, 0.2)
        except UnusableClip as error:
            raise UserError(f"The voice {path} cannot be used: {error}.") from error
        return _voice(spectrum(clip.samples), text)

    @torch.no_grad()
    def synthesize(
        self,
        texts: Sequence[str],
        voice: Voice,
        seed: int | Sequence[int],
        temperature: float | None = None,
        num_steps: int | None = None,
        cfg_coef: float | None = None,
    ) -> list[Synthesis]:
        spoken = []
        for text, (noise_seed, index) in zip(texts, noise_places(seed, len(texts)), strict=True):
            frames = list(self.tts.frames(text, voice))
            audio = waveform(torch.stack([frame for frame, _ in frames]), make_rng(noise_seed, "phases", index))
            spoken.append(Synthesis(audio, self.sample_rate_hz, frames[-1][1]))
        return spoken

    def export(self, directory: Path, voice_prompt: Path) -> None:
        check_target(directory, [upstream.SETTINGS, upstream.WEIGHTS, upstream.VOICE], upstream.SETTINGS, [])
        voice = self.load_voice(voice_prompt, text_beside(voice_prompt))
        write_folder(directory, lambda folder: upstream.save(self.tts, voice, folder))


def _voice(frames: Tensor, text: str | None) -> Voice:
    rate = len(frames) / len(text.encode("utf-8")) if text else USUAL_FRAMES_PER_CHARACTER
    return Voice(frames.mean(dim=0), torch.tensor(rate))
