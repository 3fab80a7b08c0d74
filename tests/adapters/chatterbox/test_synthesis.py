"""Speech is stock generation's, bit for bit, and leaves nothing behind."""

import pytest
import torch

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.errors import UserError
from calm_ft.randomness import derive_seed
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.chatterbox.test_features_and_voice import stock


@pytest.fixture
def adapter() -> ChatterboxAdapter:
    return make_adapter(max_speech_tokens=1000)  # upstream's own limit


def test_audio_is_that_of_stock_generation_under_the_same_seed(adapter: ChatterboxAdapter, voice_file) -> None:
    voice = adapter.load_voice(voice_file)
    stopping = adapter.t3.hp.stop_speech_token
    with torch.no_grad():
        adapter.t3.speech_head.weight[stopping] *= 6  # so that generation ends after some tokens
    tts = stock(adapter)
    tts.conds = voice
    spoken = adapter.synthesize(["Hello there."], voice, seed=3)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(3, "synthesis", 0))
        expected = tts.generate("Hello there.")[0]
    assert spoken.sample_rate_hz == tts.sr
    assert torch.equal(spoken.audio, expected.float().clamp(-1, 1))


def test_global_randomness_and_the_model_are_as_they_were(voice_file) -> None:
    adapter = make_adapter(max_speech_tokens=8)
    voice = adapter.load_voice(voice_file)
    state, names = torch.get_rng_state(), list(adapter.state_dict())
    one, same = (adapter.synthesize(["Hello.", "Hello."], voice, seed=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert list(adapter.state_dict()) == names
    assert torch.equal(one[0].audio, same[0].audio)
    assert not torch.equal(one[0].audio, one[1].audio)  # each text has draws of its own


def test_speech_cut_at_the_limit_says_so_and_has_the_tokens_length(voice_file) -> None:
    adapter = make_adapter(max_speech_tokens=8)
    spoken = adapter.synthesize(["Hello."], adapter.load_voice(voice_file), seed=1)[0]
    assert not spoken.ended
    assert len(spoken.audio) == 8 * 960
    assert spoken.audio.abs().max() <= 1


def test_a_model_that_stops_at_once_gives_a_short_silence(voice_file) -> None:
    adapter = make_adapter()
    hook = adapter.t3.speech_head.register_forward_hook(lambda *each: _only(each[2], adapter.t3.hp.stop_speech_token))
    spoken = adapter.synthesize(["Hello."], adapter.load_voice(voice_file), seed=1)[0]
    hook.remove()
    assert spoken.ended
    assert len(spoken.audio) == 2400
    assert not spoken.audio.any()


def _only(logits: torch.Tensor, token: int) -> torch.Tensor:
    certain = torch.full_like(logits, -100.0)
    certain[..., token] = 100.0
    return certain


def test_a_temperature_of_zero_is_refused(voice_file) -> None:
    adapter = make_adapter()
    with pytest.raises(UserError, match="temperature of 0"):
        adapter.synthesize(["Hello."], adapter.load_voice(voice_file), seed=1, temperature=0)
