"""torch.compile of training steps: the same values, one compilation for all lengths, and a way on without it."""

import pytest
import torch

from calm_ft.finetuning.strategy import Full, HeadOnly
from calm_ft.randomness import make_rng
from calm_ft.training import compiling

CPU = torch.device("cpu")


def compiled_graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.slow
def test_compiled_steps_equal_plain_ones_and_no_length_is_compiled_for_again(nano_adapter, make_example):
    Full().apply(nano_adapter, lr=1e-3)
    trained = [p for p in nano_adapter.parameters() if p.requires_grad]
    lengths = [(9 + 5 * (index % 11), 3 + index % 7) for index in range(50)]
    batches = [
        nano_adapter.collate([make_example(nano_adapter, f"{row}-{index}", frames + row, "A few words.", prompt)
                              for row in range(2)])
        for index, (frames, prompt) in enumerate(lengths)
    ]  # fmt: skip

    def step(index: int) -> list[torch.Tensor]:
        total = nano_adapter.loss(batches[index], make_rng(0, "train", index)).total
        return [total.detach(), *torch.autograd.grad(total, trained, allow_unused=True)]

    plain = [step(index) for index in range(3)]
    said: list[str] = []
    torch._dynamo.reset()
    compiling.compile_training(True, nano_adapter, CPU, said.append)
    assert "torch.compile is on" in said[0]
    for index, expected in enumerate(plain):
        torch.testing.assert_close(step(index), expected, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        nano_adapter.residuals(batches[0], seed=0)
    graphs = compiled_graphs()
    for index in range(3, len(batches)):
        step(index)
    assert compiled_graphs() == graphs


@pytest.mark.slow
def test_a_machine_without_a_compiler_trains_as_before_and_says_so(nano_adapter, three_examples, monkeypatch):
    HeadOnly().apply(nano_adapter, lr=1e-3)
    batch = nano_adapter.collate(three_examples(nano_adapter))
    plain = nano_adapter.loss(batch, make_rng(0, "loss")).total
    monkeypatch.setenv("CXX", "/no/such/compiler")
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/no/such/compiler",))
    torch._dynamo.reset()
    said: list[str] = []
    with torch._inductor.utils.fresh_inductor_cache():
        compiling.compile_training(True, nano_adapter, CPU, said.append)
    assert len(said) == 1
    assert said[0].startswith("nothing is compiled, for torch.compile does not work on this machine: ")
    assert torch.equal(nano_adapter.loss(batch, make_rng(0, "loss")).total, plain)


@pytest.mark.parametrize("setting", [False, "auto"])
def test_nothing_is_compiled_on_a_processor_unless_it_is_asked_for(nano_adapter, setting):
    Full().apply(nano_adapter, lr=1e-3)
    before = [layer.forward for layer in nano_adapter.flow_lm.transformer.layers]
    compiling.compile_training(setting, nano_adapter, CPU, lambda line: pytest.fail(line))
    assert [layer.forward for layer in nano_adapter.flow_lm.transformer.layers] == before


def test_heads_alone_are_not_compiled_by_auto(nano_adapter):
    HeadOnly().apply(nano_adapter, lr=1e-3)
    assert not compiling.trains_layers(nano_adapter)
    Full().apply(nano_adapter, lr=1e-3)
    assert compiling.trains_layers(nano_adapter)
