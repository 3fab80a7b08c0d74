"""Muon and AdamW joined, against the two run by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full, TrainedComponent
from calm_ft.training.optimizers import CosineSchedule, MuonFactory, matrices_in_stacks, split_by_decay

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

    muon = torch.optim.Muon(
        [p for name, p in apart.layers.named_parameters() if name.endswith("weight")],
        lr=0.02,
        weight_decay=0.05,
        adjust_lr_fn="match_rms_adamw",
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
        assert torch.equal(one, other), name


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
