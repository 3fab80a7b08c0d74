"""The recogniser's features ignore gain and padding; its network has the shape it states."""

import pytest
import torch

from calm_ft.metrics.embedded_recogniser import FRAME_STRIDE, HOP_SAMPLES, NUM_MELS, NUM_UNITS, CTCNetwork, LogMel


@pytest.fixture
def audio() -> torch.Tensor:
    return 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))


def test_levels_are_relative_to_the_loudest_value(audio: torch.Tensor):
    features = LogMel()(audio)
    assert features.shape == (2, NUM_MELS, 8000 // HOP_SAMPLES + 1)
    assert features.amax(dim=(1, 2)).tolist() == [1.0, 1.0]
    assert features.min() >= -1


def test_gain_and_silence_after_the_speech_leave_its_frames_as_they_are(audio: torch.Tensor):
    features = LogMel()
    plain = features(audio)
    torch.testing.assert_close(features(0.1 * audio), plain, atol=1e-4, rtol=0)
    padded = features(torch.nn.functional.pad(audio, (0, 1600)))
    torch.testing.assert_close(padded[..., : plain.shape[-1]], plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 50])
def test_the_network_gives_log_probabilities_for_every_third_frame(num_frames: int):
    scores = CTCNetwork().eval()(torch.randn(2, NUM_MELS, num_frames))
    assert scores.shape == (2, -(-num_frames // FRAME_STRIDE), NUM_UNITS)
    torch.testing.assert_close(scores.exp().sum(dim=-1), torch.ones(scores.shape[:2]))


def test_the_network_hears_the_whole_utterance_at_once():
    torch.manual_seed(0)
    network = CTCNetwork().eval()
    features = torch.randn(1, NUM_MELS, 90)
    changed = features.clone()
    changed[..., -1] += 1.0
    assert not torch.equal(network(features)[0, 0], network(changed)[0, 0])


def test_it_has_less_than_a_million_parameters():
    assert sum(parameter.numel() for parameter in CTCNetwork().parameters()) < 1_000_000
