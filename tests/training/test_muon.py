"""Muon against torch's and against polar factors; Muon and AdamW joined, against the two run by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full, TrainedComponent
from calm_ft.training.optimizers import (
    CosineSchedule,
    Muon,
    MuonFactory,
    fast_matmul_dtype,
    fused_projections,
    matrices_in_stacks,
    orthogonalize,
    split_by_decay,
)

SCHEDULE = CosineSchedule(num_warmup_steps=2, final_lr_fraction=0.0)
NUM_STEPS = 10


class Stacked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.first = nn.Linear(4, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.first(self.embedding(tokens))
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x.square().sum()


def factory() -> MuonFactory:
    return MuonFactory(adamw_lr=0.03, lr=0.02, weight_decay=0.05, beta1=0.8, beta2=0.95, schedule=SCHEDULE)


def whole(module: nn.Module) -> list[TrainedComponent]:
    return [TrainedComponent("all", module, 1.0, tuple(getattr(module, "layers", ())))]


def steps(module: Stacked, optimizer: torch.optim.Optimizer, schedule: object, num_steps: int) -> None:
    for _ in range(num_steps):
        optimizer.zero_grad()
        module(torch.arange(5)).backward()
        optimizer.step()
        schedule.step()  # type: ignore[attr-defined]


def test_every_group_moves_as_with_an_optimizer_of_its_own() -> None:
    torch.manual_seed(0)
    joined = Stacked()
    apart = copy.deepcopy(joined)
    steps(joined, *factory().build(whole(joined), NUM_STEPS), 5)

    muon = Muon(
        [p for name, p in apart.layers.named_parameters() if name.endswith("weight")], lr=0.02, weight_decay=0.05
    )
    others = [
        apart.embedding.weight,
        apart.first.bias,
        *(p for name, p in apart.layers.named_parameters() if name.endswith("bias")),
    ]
    groups = [{"params": [apart.first.weight], "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.03, betas=(0.8, 0.95))
    for step in range(5):
        fraction = SCHEDULE.lr_fraction(step, NUM_STEPS)
        for optimizer, rate in ((muon, 0.02), (adamw, 0.03)):
            for group in optimizer.param_groups:
                group["lr"] = rate * fraction
            optimizer.zero_grad()
        apart(torch.arange(5)).backward()
        muon.step()
        adamw.step()
    for (name, one), other in zip(joined.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7, msg=name)


def test_a_restored_state_continues_bit_for_bit() -> None:
    torch.manual_seed(0)
    through = Stacked()
    optimizer, schedule = factory().build(whole(through), NUM_STEPS)
    steps(through, optimizer, schedule, 3)
    resumed = copy.deepcopy(through)
    restored_optimizer, restored_schedule = factory().build(whole(resumed), NUM_STEPS)
    restored_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    restored_schedule.load_state_dict(schedule.state_dict())
    steps(through, optimizer, schedule, 4)
    steps(resumed, restored_optimizer, restored_schedule, 4)
    for one, other in zip(through.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_embedded_model_gives_muon_its_blocks_and_adamw_the_ends(nano_adapter: PocketTTSAdapter) -> None:
    Full().apply(nano_adapter, 1e-3)
    components = Full().trained_components(nano_adapter)
    hidden = {id(p) for each in components for p in matrices_in_stacks(each, split_by_decay(each.module)[0])}
    names = {name for name, p in nano_adapter.named_parameters() if id(p) in hidden}
    assert all(".layers." in name or ".res_blocks." in name for name in names)
    assert any(name.startswith("flow_lm.flow_net.res_blocks") for name in names)
    assert any(name.startswith("flow_lm.transformer.layers.5") for name in names)
    for end in ("flow_net.input_proj", "flow_net.final_layer", "input_linear", "out_eos", "conditioner"):
        assert not any(end in name for name in names)


def test_muon_without_a_hidden_matrix_is_refused() -> None:
    with pytest.raises(UserError, match="optimizer=adamw"):
        factory().build(whole(nn.Linear(3, 3)), NUM_STEPS)


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 40)])
def test_newton_schulz_approximates_the_polar_factor(shape: tuple[int, int]) -> None:
    random = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(random, full_matrices=False)
    matrices = u * torch.linspace(0.1, 3, u.shape[-1]) @ vh
    result = orthogonalize(matrices)
    in_its_basis = u.mT @ result @ vh.mT
    sizes = in_its_basis.diagonal(dim1=1, dim2=2)
    assert 0.6 < sizes.min() < sizes.max() < 1.3
    assert (in_its_basis - torch.diag_embed(sizes)).abs().max() < 1e-3


def test_the_update_is_that_of_torch_but_for_its_bfloat16() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(32, 12, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    mine = Muon([ours], lr=0.1, weight_decay=0.05)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(32, 12, generator=generator)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    assert (ours - theirs).norm() < 0.02 * (ours - start).norm()


def test_a_fused_projection_moves_as_its_three_matrices_would() -> None:
    generator = torch.Generator().manual_seed(0)
    fused = nn.Parameter(torch.randn(24, 8, generator=generator))
    parts = [nn.Parameter(part.clone()) for part in fused.detach().chunk(3)]
    together = Muon([{"params": [fused], "blocks": [3]}], lr=0.1)
    apart = Muon(parts, lr=0.1)
    for _ in range(3):
        fused.grad = (
            torch.randn(24, 8, generator=generator) * torch.tensor([1.0, 10.0, 0.1]).repeat_interleave(8)[:, None]
        )
        for part, gradient in zip(parts, fused.grad.chunk(3), strict=True):
            part.grad = gradient.clone()
        together.step()
        apart.step()
    torch.testing.assert_close(fused.detach(), torch.cat([part.detach() for part in parts]), rtol=1e-6, atol=1e-7)


def test_each_attention_of_the_embedded_model_is_three_matrices_to_muon(nano_adapter: PocketTTSAdapter) -> None:
    Full().apply(nano_adapter, 1e-3)
    components = Full().trained_components(nano_adapter)
    optimizer, _ = factory().build(components, NUM_STEPS)
    counts = [count for group in optimizer.param_groups if "blocks" in group for count in group["blocks"]]
    layers = nano_adapter.flow_lm.transformer.layers
    assert counts.count(3) == len(layers) == len(fused_projections(nano_adapter.flow_lm))
    assert set(counts) == {1, 3}


def test_a_processor_multiplies_in_float32() -> None:
    assert fast_matmul_dtype(torch.device("cpu")) == torch.float32
