"""A shallow student that speaks at once as its deep teacher speaks with guidance.

The student is the teacher without some of its layers. Its backbone learns the teacher's guided output,

    z_null + cfg_coef (z - z_null),

for the same rows; heads and everything else are the teacher's, and the heads stay as they are. So the student needs one
pass a frame, where the teacher needs two and more layers. This is how the released 6-layer models were made.

A head never met guided outputs, and may need more steps for them. With `trajectory_steps` the student's learns to do in
one what the teacher's does in several (`flow.trajectory_distillation`).

Source: CALM (arXiv 2509.06926), the section on distillation; pocket_tts sdist, training/configs/depth_distill.yaml.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.tts_model import TTSModel, stamp_state_names
from torch import Tensor, nn

from calm_ft.adapters.base import Component, LossOutput, LossTerm, RowResiduals
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.loading import is_released, load_config, load_tts
from calm_ft.adapters.pocket_tts.rows import (
    PocketTTSBatch,
    drop_conditioning,
    noise_on_inputs,
    normalized,
    teacher_forced,
)
from calm_ft.adapters.pocket_tts.text import PocketTTSText
from calm_ft.errors import UserError
from calm_ft.flow.heads import bind_condition, head_time_conditions
from calm_ft.flow.precision import at_least_float32, without_autocast
from calm_ft.flow.sampling import guide
from calm_ft.flow.trajectory_distillation import TrajectoryDraws, draw_pieces, trajectory_residual
from calm_ft.randomness import make_rng

HEADS = {"flow_head": "flow_net", "eos_head": "out_eos"}
"""Part -> its module in upstream's FlowLM."""
SHALLOWER = 4  # upstream's students have 6 of 24 layers
_EVERY_LETTER = "Sphinx of black quartz, judge my vow: 1 234 567 890?"
LayerChoice = Literal["spaced", "first"]


class DistilledPocketTTSAdapter(PocketTTSAdapter):
    """The student as a Pocket TTS; its teacher is no part of what is trained, saved or exported."""

    teacher: FlowLMModel

    def __init__(
        self,
        num_layers: int | None = None,
        layers: LayerChoice = "spaced",
        cfg_coef: float = 2.0,
        student: str | None = None,
        trajectory_steps: int = 0,
        conditioning_dropout: float | None = None,
        **settings: Any,
    ) -> None:
        """`model` and the other settings of a Pocket TTS are the teacher's.

        Args:
            num_layers: of the student; None takes a quarter of the teacher's.
            layers: which of the teacher's layers it begins with: evenly spaced ones, or the first.
            cfg_coef: guidance that the student learns to speak with; 1 distills depth alone.
            student: model (as `model`) whose backbone the student begins with, in place of the teacher's layers: an
                earlier student of the teacher's base, for a teacher that was tuned. Minutes of speech are enough then.
            trajectory_steps: the flow head learns to do in one step what the teacher's does in so many; 0 keeps the
                teacher's head, as upstream does.
            conditioning_dropout: refused but for 0: a student is never played without text and voice.

        Raises UserError for layers that the teacher has not, for guidance of a teacher without a null branch, and for a
        student that does not fit its teacher.
        """
        if conditioning_dropout:
            raise UserError(
                f"adapter.conditioning_dropout={conditioning_dropout} has no place in distillation: the student would "
                "learn the guided output from nothing. Leave it out."
            )
        for name in ("anchor_weight", "attention_guide_weight"):
            if settings.get(name):
                raise UserError(
                    f"adapter.{name}={settings[name]} has no place in distillation, whose only target is the teacher: "
                    "leave it out."
                )
        super().__init__(conditioning_dropout=0.0, **settings)
        if cfg_coef != 1 and not self.has_null_branch:
            raise UserError(
                f"adapter.cfg_coef={cfg_coef:g} takes a teacher with a null branch, and {self.model} has none: take a "
                "24-layer model or one that was trained with adapter.conditioning_dropout, or set adapter.cfg_coef=1."
            )
        if trajectory_steps < 0 or trajectory_steps == 1:
            raise UserError(f"adapter.trajectory_steps={trajectory_steps} must be 0, or 2 and more.")
        if trajectory_steps and head_time_conditions(self.flow_lm.flow_net) < 2:
            raise UserError(
                f"adapter.trajectory_steps={trajectory_steps} takes a flow head that jumps, and that of {self.model} "
                "has no second time: leave it out."
            )
        self.cfg_coef = cfg_coef
        self.trajectory_steps = trajectory_steps
        # Not a submodule: it must not be saved, exported or trained.
        self.__dict__["teacher"] = self.flow_lm.eval().requires_grad_(False)
        if student is None:
            depth = len(self.teacher.transformer.layers)
            chosen = chosen_layers(depth, max(1, depth // SHALLOWER) if num_layers is None else num_layers, layers)
            self._become_student(shallower(self.teacher, chosen))
        elif num_layers is not None or layers != "spaced":
            given = "num_layers" if num_layers is not None else "layers"
            raise UserError(f"adapter.{given} is that of adapter.student, where it is given: leave one of them out.")
        else:
            self._become_student(self._earlier_student(student))

    def _earlier_student(self, model: str) -> FlowLMModel:
        """Another model's FlowLM with the teacher's heads. Raises UserError where the two do not fit."""
        other = load_tts(load_config(model, None), origin=model if is_released(model) else None)
        mine, its = _shared(self.tts), _shared(other)
        differing = next((name for name, tensor in mine.items() if not _same(tensor, its[name])), None)
        if differing is not None:
            raise UserError(
                f"adapter.student={model} does not fit its teacher {self.model}: they differ in {differing}. Take the "
                "shallow model of the same language and release."
            )
        student = other.flow_lm
        for head in HEADS.values():
            setattr(student, head, copy.deepcopy(getattr(self.teacher, head)))
        for statistics in ("emb_mean", "emb_std"):  # in which the heads speak
            setattr(student, statistics, getattr(self.teacher, statistics).clone())
        return student

    def _become_student(self, student: FlowLMModel) -> None:
        config = self.tts.config.model_copy(deep=True)
        config.flow_lm.transformer.num_layers = len(student.transformer.layers)
        self.tts.config, self.tts.flow_lm = config, student.requires_grad_(True)
        stamp_state_names(self.tts)
        self._adopt(self.tts)
        self.is_deep = self.has_null_branch = False

    def describe(self) -> str:
        depth = len(self.teacher.transformer.layers)
        return f"{super().describe()}, taught by its {depth} layers with guidance {self.cfg_coef:g}"

    def components(self) -> Mapping[str, Component]:
        """No strategy trains a head that the loss does not reach."""
        parts = super().components()
        frozen = {"eos_head"} if self.trajectory_steps else set(HEADS)
        return {name: replace(part, trainable=False) if name in frozen else part for name, part in parts.items()}

    def with_draws(self, batch: PocketTTSBatch, rng: torch.Generator) -> PocketTTSBatch:
        """As it is: this loss draws something else."""
        return batch

    def loss(self, batch: PocketTTSBatch, rng: torch.Generator) -> LossOutput:
        seed = int(torch.randint(2**62, (), generator=rng))
        noise = noise_on_inputs(batch, self.input_noise_std, seed) if self.input_noise_std else None
        z, guided = self.hidden(batch, noise).z, self.guided(batch, noise)
        errors = _distance(z, guided)[batch.eos_mask]
        terms = {"distillation": LossTerm(1.0, errors.sum(), errors.numel())}
        if self.trajectory_steps:
            along = self._trajectory_errors(batch, z, guided, seed)
            terms["trajectory"] = LossTerm(1.0, along.sum(), along.numel())
        parts = {name: term.sum.detach() / term.count for name, term in terms.items()}
        return LossOutput(terms, parts, int(batch.num_frames.sum()))

    def _trajectory_errors(self, batch: PocketTTSBatch, z: Tensor, guided: Tensor, seed: int) -> Tensor:
        """How far the student's flow head is from several steps of the teacher's, [N] for the valid frames."""
        num_channels = batch.latents.shape[-1]
        drawn = [
            draw_pieces(length, num_channels, self.trajectory_steps, self.tts.temp, make_rng(seed, "trajectory", place))
            for length, place in zip(batch.num_frames.tolist(), batch.places, strict=True)
        ]
        draws = TrajectoryDraws(*(torch.cat(each).to(z.device) for each in zip(*drawn, strict=True)))
        mask = batch.frame_mask
        student, teacher = self.flow_lm.flow_net, self.teacher.flow_net
        with without_autocast(z.device):
            return trajectory_residual(
                bind_condition(student, at_least_float32(z[mask])),
                bind_condition(teacher, at_least_float32(guided[mask])),
                draws,
                self.trajectory_steps,
            )

    @torch.no_grad()
    def guided(self, batch: PocketTTSBatch, input_noise: Tensor | None = None) -> Tensor:
        """The teacher's output [B, T, D] for the batch's rows, as guidance makes it, from the same noisy latents."""
        teacher = self.teacher.to(batch.latents.device)
        latents = normalized(teacher, batch)
        fed_back = latents if input_noise is None else latents + input_noise
        z, _ = teacher_forced(teacher, batch, fed_back)
        if self.cfg_coef == 1:
            return z
        z_null, _ = teacher_forced(teacher, drop_conditioning(batch, 1.0, seed=0), fed_back)
        return guide(z, z_null, self.cfg_coef)

    @torch.no_grad()
    def residuals(self, batch: PocketTTSBatch, seed: int) -> RowResiduals:
        """`residual` is the distance to the teacher, as it is trained; the others are of every Pocket TTS."""
        z, guided, mask = self.hidden(batch).z, self.guided(batch), batch.eos_mask
        distances = torch.stack([row[valid].mean() for row, valid in zip(_distance(z, guided), mask, strict=True)])
        if self.trajectory_steps:
            along = self._trajectory_errors(batch, z, guided, seed).split(batch.num_frames.tolist())
            distances = distances + torch.stack([each.mean() for each in along])
        own = super().residuals(batch, seed)
        return RowResiduals({**own.values, "residual": distances}, own.num_frames)


def _distance(z: Tensor, guided: Tensor) -> Tensor:
    """Mean squared distance to the guided teacher [B, T], also at the first frame past each end."""
    return (z - guided).square().mean(dim=-1)


def shallower(teacher: FlowLMModel, chosen: Sequence[int]) -> FlowLMModel:
    """A copy of the teacher with some of its layers."""
    student = copy.deepcopy(teacher)
    student.transformer.layers = nn.ModuleList([student.transformer.layers[index] for index in chosen])
    return student


def _shared(tts: TTSModel) -> dict[str, Tensor]:
    """What a student and its teacher must have in common."""
    lm = tts.flow_lm
    codec = torch.cat([tensor.flatten().float() for _, tensor in sorted(tts.mimi.state_dict().items())])
    return {
        "the width": torch.tensor([lm.dim, lm.out_eos.in_features]),
        "the codec": codec,
        "the tokenizer": torch.tensor(PocketTTSText(tts).tokens(_EVERY_LETTER)),
        "the statistics of the latents": torch.stack([lm.emb_mean, lm.emb_std]),
    }


def _same(mine: Tensor, its: Tensor) -> bool:
    """Whether two tensors are one, but for one of them having been stored in 16 bits."""
    if not mine.is_floating_point() or mine.shape != its.shape:
        return torch.equal(mine, its)
    return torch.allclose(mine, its, rtol=torch.finfo(torch.bfloat16).eps, atol=1e-6)


def chosen_layers(depth: int, num_layers: int, layers: LayerChoice) -> list[int]:
    """Which of a teacher's layers a student begins with.

    Raises UserError where the teacher has not so many, and for an unknown choice.
    """
    if not 1 <= num_layers <= depth:
        raise UserError(f"adapter.num_layers={num_layers} must be at least 1 and at most the teacher's {depth}.")
    if layers == "first":
        return list(range(num_layers))
    if layers != "spaced":
        raise UserError(f"adapter.layers={layers} is unknown: take spaced or first.")
    if num_layers == 1:
        return [0]
    return [round(place * (depth - 1) / (num_layers - 1)) for place in range(num_layers)]
