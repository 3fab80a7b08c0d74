"""Mixed precision: losses and gradients stay finite and near those of full precision."""

import pytest
import torch

from calm_ft.data.dataset import Example
from calm_ft.randomness import make_rng
from tests.adapters.chatterbox.conftest import make_adapter


@pytest.mark.parametrize("experiment", ["chatterbox_t3", "chatterbox_s3gen"])
def test_bf16_autocast_gives_nearly_the_same_loss_and_finite_gradients(
    experiment: str, examples: list[Example]
) -> None:
    adapter = make_adapter(experiment)
    batch = adapter.collate(examples)
    exact = adapter.loss(batch, make_rng(0, "x")).total.detach()
    with torch.autocast("cpu", torch.bfloat16):
        loss = adapter.loss(batch, make_rng(0, "x")).total
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0)
    gradients = [p.grad for p in adapter.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(each).all() for each in gradients)


@pytest.mark.gpu
@pytest.mark.parametrize("experiment", ["chatterbox_t3", "chatterbox_s3gen", "chatterbox_full"])
def test_a_gpu_gives_the_losses_of_the_cpu_and_speaks(experiment: str, examples: list[Example], voice_file) -> None:
    from lightning.pytorch.utilities import move_data_to_device

    adapter = make_adapter(experiment, max_speech_tokens=8)
    batch = adapter.collate(examples)
    expected = adapter.loss(batch, make_rng(0, "x")).total
    adapter.cuda()
    found = adapter.loss(move_data_to_device(batch, torch.device("cuda")), make_rng(0, "x")).total
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
    spoken = adapter.synthesize(["Hello."], adapter.load_voice(voice_file), seed=0)[0]
    assert spoken.audio.device.type == "cpu"
