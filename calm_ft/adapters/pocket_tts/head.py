"""Upstream's flow head, computed faster: the same parameters, the same values but for rounding.

What depends on the frame alone, the projection of its condition, is computed once a frame and not once a draw; what
every block begins with, SiLU of the embedded times and condition, once a draw; normalisations are one operation. The
derivative in the end time, which Lagrangian self-distillation takes, is carried along by hand: value and derivative go
through each linear layer together, where forward-mode differentiation runs every operation by itself.

Matrix products, which take nine tenths of the time, may be of bfloat16 numbers; everything between them is of float32.

Source: pocket_tts/modules/mlp.py (`SimpleMLPAdaLN`), whose forward and whose `torch.func.jvp` are the tests' oracles.
"""

from dataclasses import dataclass

import torch
from pocket_tts.modules.mlp import FinalLayer, LayerNorm, ResBlock, RMSNorm, SimpleMLPAdaLN, TimestepEmbedder
from torch import Tensor, nn
from torch.nn import functional as F

from calm_ft.flow.heads import HasTimeDerivative

UPSTREAM_LAYERS = frozenset(
    {SimpleMLPAdaLN, ResBlock, FinalLayer, TimestepEmbedder, LayerNorm, RMSNorm}
    | {nn.Linear, nn.SiLU, nn.Sequential, nn.ModuleList}
)


def frame_head(net: SimpleMLPAdaLN, products: torch.dtype | None = None) -> "FrameHead":
    """A head that takes the embedded conditions `net.cond_embed(cond)` in the place of conditions.

    products: the type of the numbers that are multiplied; None multiplies them as they are.

    It differentiates itself where it is made of upstream's own layers; a LoRA layer may drop activations at random.
    """
    is_plain = all(type(each) in UPSTREAM_LAYERS for each in net.modules())
    kind = DifferentiatedFrameHead if is_plain and net.num_time_conds == 2 else FrameHead
    return kind(net, products if is_plain else None)


def compile_head(head: "FrameHead") -> None:
    """Let torch.compile fuse the arithmetic, for any number of rows."""
    head.forward = torch.compile(head.forward, dynamic=True)  # type: ignore[method-assign]
    if isinstance(head, DifferentiatedFrameHead):
        compiled = torch.compile(head.velocity_and_derivative, dynamic=True)
        head.velocity_and_derivative = compiled  # type: ignore[method-assign]


class FrameHead(nn.Module):
    """Called as upstream's head, with conditions [N, channels] that are embedded already."""

    def __init__(self, net: SimpleMLPAdaLN, products: torch.dtype | None = None) -> None:
        super().__init__()
        self.net = net
        self.products = products
        self.num_time_conds = net.num_time_conds

    def forward(self, embedded: Tensor, *times_and_x: Tensor) -> Tensor:
        net = self.net
        *times, x = times_and_x
        for embedder, time in zip(net.time_embed, times, strict=True):
            embedded = embedded + self._embedded_time(embedder, time) / net.num_time_conds
        active = F.silu(embedded)
        x = self._linear(net.input_proj, x)
        for block in net.res_blocks:
            shift, scale, gate = self._linear(block.adaLN_modulation[1], active).chunk(3, dim=-1)
            hidden = torch.addcmul(shift, _normalized(block.in_ln, x), 1 + scale)
            hidden = self._linear(block.mlp[2], F.silu(self._linear(block.mlp[0], hidden)))
            x = torch.addcmul(x, gate, hidden)
        last = net.final_layer
        shift, scale = self._linear(last.adaLN_modulation[1], active).chunk(2, dim=-1)
        return self._linear(last.linear, torch.addcmul(shift, _normalized(last.norm_final, x), 1 + scale))

    def _linear(self, layer: nn.Module, x: Tensor) -> Tensor:
        if self.products is None or not isinstance(layer, nn.Linear):
            return layer(x)
        product = self._product(x, layer.weight)
        return product if layer.bias is None else product + layer.bias

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.products is None:
            return F.linear(x, weight)
        return F.linear(x.to(self.products), weight.to(self.products)).to(x.dtype)

    def _embedded_time(self, embedder: TimestepEmbedder, time: Tensor) -> Tensor:
        angles = time * embedder.freqs.to(time.dtype)
        first, _, second, norm = embedder.mlp
        hidden = F.silu(self._linear(first, torch.cat([angles.cos(), angles.sin()], dim=-1)))
        hidden = self._linear(second, hidden)
        return hidden * (norm.alpha * _inverse_deviation(norm, hidden)[0])


class DifferentiatedFrameHead(FrameHead, HasTimeDerivative):
    """Also gives the derivative in the end time t."""

    def velocity_and_derivative(self, cond: Tensor, s: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        net = self.net
        start = self._embedded_time(net.time_embed[0], s)
        end = self._embedded_time_dual(net.time_embed[1], t)
        active = _silu(_Dual(cond + (start + end.value) / 2, end.tangent / 2))
        x, x_dt = self._linear(net.input_proj, x), None
        for block in net.res_blocks:
            shift, scale, gate = self._linear_dual(block.adaLN_modulation[1], active).chunk(3)
            hidden = _modulated(_normalized_dual(block.in_ln, x, x_dt), shift, scale)
            hidden = self._linear_dual(block.mlp[2], _silu(self._linear_dual(block.mlp[0], hidden)))
            x = torch.addcmul(x, gate.value, hidden.value)
            moved = torch.addcmul(gate.tangent * hidden.value, gate.value, hidden.tangent)
            x_dt = moved if x_dt is None else x_dt + moved
        last = net.final_layer
        shift, scale = self._linear_dual(last.adaLN_modulation[1], active).chunk(2)
        velocity = self._linear_dual(last.linear, _modulated(_normalized_dual(last.norm_final, x, x_dt), shift, scale))
        return velocity.value, velocity.tangent

    def _linear_dual(self, layer: nn.Linear, dual: "_Dual") -> "_Dual":
        value, tangent = self._product(torch.cat([dual.value, dual.tangent]), layer.weight).chunk(2)
        return _Dual(value if layer.bias is None else value + layer.bias, tangent)

    def _embedded_time_dual(self, embedder: TimestepEmbedder, time: Tensor) -> "_Dual":
        freqs = embedder.freqs.to(time.dtype)
        angles = time * freqs
        cos, sin = angles.cos(), angles.sin()
        first, _, second, norm = embedder.mlp
        waves = _Dual(torch.cat([cos, sin], dim=-1), torch.cat([-sin * freqs, cos * freqs], dim=-1))
        hidden = self._linear_dual(second, _silu(self._linear_dual(first, waves)))
        scale, centred = _inverse_deviation(norm, hidden.value)
        # d var^(-1/2) = -1/2 var^(-3/2) d var, and d var = 2 / (C - 1) sum of centred times derivative.
        scale_dt = -(scale**3) * (centred * hidden.tangent).sum(dim=-1, keepdim=True) / (centred.shape[-1] - 1)
        tangent = hidden.tangent * scale + hidden.value * scale_dt
        return _Dual(hidden.value * (norm.alpha * scale), tangent * norm.alpha)


@dataclass(frozen=True)
class _Dual:
    """A value and its derivative in the end time, both [N, channels]; None where it does not depend on it."""

    value: Tensor
    tangent: Tensor

    def chunk(self, num_parts: int) -> list["_Dual"]:
        parts = zip(self.value.chunk(num_parts, dim=-1), self.tangent.chunk(num_parts, dim=-1), strict=True)
        return [_Dual(value, tangent) for value, tangent in parts]


def _silu(dual: _Dual) -> _Dual:
    sigmoid = torch.sigmoid(dual.value)
    value = dual.value * sigmoid
    return _Dual(value, dual.tangent * (sigmoid * (1 - value) + value))


def _modulated(normalized: tuple[Tensor, Tensor | None], shift: _Dual, scale: _Dual) -> _Dual:
    value, tangent = normalized
    factor = 1 + scale.value
    moved = torch.addcmul(shift.tangent, value, scale.tangent)
    return _Dual(
        torch.addcmul(shift.value, value, factor),
        moved if tangent is None else torch.addcmul(moved, tangent, factor),
    )


def _normalized(norm: LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], getattr(norm, "weight", None), getattr(norm, "bias", None), norm.eps)


def _normalized_dual(norm: LayerNorm, x: Tensor, x_dt: Tensor | None) -> tuple[Tensor, Tensor | None]:
    centred = x - x.mean(dim=-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(dim=-1, keepdim=True) + norm.eps)
    value, tangent = centred * scale, None
    if x_dt is not None:
        along = (value * x_dt).mean(dim=-1, keepdim=True)
        tangent = scale * (x_dt - x_dt.mean(dim=-1, keepdim=True) - value * along)
    if not hasattr(norm, "weight"):
        return value, tangent
    return value * norm.weight + norm.bias, None if tangent is None else tangent * norm.weight


def _inverse_deviation(norm: RMSNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """1 / sqrt(variance + eps) [N, 1], of the unbiased variance as upstream's norm has it, and x - mean."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().sum(dim=-1, keepdim=True) / (x.shape[-1] - 1)
    return torch.rsqrt(variance + norm.eps), centred
