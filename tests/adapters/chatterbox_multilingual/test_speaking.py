"""Speech is stock generation's, bit for bit, analyzer and all; nothing of that stays in the model, even in failing."""

from collections.abc import Sequence

import pytest
import torch
from chatterbox.models.t3.inference.alignment_stream_analyzer import AlignmentStreamAnalyzer

from calm_ft.adapters.chatterbox_multilingual.adapter import ChatterboxMultilingualAdapter
from calm_ft.randomness import derive_seed
from tests.adapters import contract
from tests.adapters.chatterbox_multilingual.conftest import stock

STOPS_AFTER = 12


def say_in_order(adapter: ChatterboxMultilingualAdapter, tokens: Sequence[int]) -> None:
    """Let T3 be certain of these tokens, one after the other, and of the stop token behind them."""
    left = [*tokens]

    def certain(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
        logits = torch.full_like(output, -100.0)
        logits[..., left.pop(0) if left else adapter.t3.hp.stop_speech_token] = 100.0
        return logits

    adapter.t3.speech_head.register_forward_hook(certain)


def traces(adapter: ChatterboxMultilingualAdapter) -> list[object]:
    """What an analyzer leaves behind in stock's T3."""
    t3, config = adapter.t3, adapter.t3.tfmr.config
    num_hooks = [len(layer.self_attn._forward_hooks) for layer in t3.tfmr.layers]
    return [num_hooks, config.output_attentions, config._attn_implementation, list(adapter.state_dict())]


def test_audio_is_that_of_stock_generation_with_its_analyzer(
    deep: ChatterboxMultilingualAdapter, voice_file, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []
    step = AlignmentStreamAnalyzer.step

    def counted(self: AlignmentStreamAnalyzer, *given: object, **named: object) -> torch.Tensor:
        steps.append(self)
        return step(self, *given, **named)

    monkeypatch.setattr(AlignmentStreamAnalyzer, "step", counted)
    voice = deep.load_voice(voice_file)
    say_in_order(deep, tokens := list(range(100, 120)))
    before = traces(deep)
    spoken = deep.synthesize(["Hello there, all of you."], voice, seed=3)[0]
    assert traces(deep) == before
    # The analyzer forbids the end while the text is not said: stock draws something else then.
    assert len(tokens) < len(steps) - 1 == len(spoken.audio) / 960
    tts = stock(deep)
    tts.conds = voice
    deep.t3.speech_head._forward_hooks.clear()
    say_in_order(deep, tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(3, "synthesis", 0))
        expected = tts.generate("Hello there, all of you.", "en")[0]
    assert torch.equal(spoken.audio, expected.float().clamp(-1, 1))


def test_residuals_are_the_same_bits_before_and_after_speaking(
    deep: ChatterboxMultilingualAdapter, voice_file, tmp_path
) -> None:
    batch = deep.collate(contract.examples(contract.encoded(deep, tmp_path)))
    before, as_it_was = deep.residuals(batch, seed=1).values, traces(deep)
    say_in_order(deep, [1, 2, 3])
    deep.synthesize(["Hello there."], deep.load_voice(voice_file), seed=0)
    deep.t3.speech_head._forward_hooks.clear()
    assert traces(deep) == as_it_was
    after = deep.residuals(batch, seed=1).values
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_int8_weights_speak_under_stocks_analyzer_and_leave_the_model_as_it_was(
    deep: ChatterboxMultilingualAdapter, voice_file
) -> None:
    voice = deep.load_voice(voice_file)
    say_in_order(deep, list(range(100, 120)))
    quantized = deep.quantized()
    before, weights = (traces(deep), traces(quantized)), contract.snapshot(deep)
    spoken = quantized.synthesize(["Hello there."], voice, seed=3)[0]
    assert torch.isfinite(spoken.audio).all()
    assert (traces(deep), traces(quantized)) == before
    after = contract.snapshot(deep)
    assert all(torch.equal(weights[name], after[name]) for name in weights)


def test_speaking_that_fails_leaves_the_model_as_it_was(
    deep: ChatterboxMultilingualAdapter, voice_file, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise IndexError("upstream's")

    monkeypatch.setattr(AlignmentStreamAnalyzer, "step", fail)
    before, voice = traces(deep), deep.load_voice(voice_file)
    with pytest.raises(IndexError, match="upstream's"):
        deep.synthesize(["Hello there."], voice, seed=0)
    assert traces(deep) == before


def test_a_text_on_which_stock_fails_is_said_as_stock_says_it_with_its_last_mark_twice(
    deep: ChatterboxMultilingualAdapter, voice_file
) -> None:
    voice = deep.load_voice(voice_file)
    tts = stock(deep)
    tts.conds = voice
    tokens = list(range(100, 100 + STOPS_AFTER))
    say_in_order(deep, tokens)
    with pytest.raises(IndexError):
        tts.generate("A.", "en")
    for text, same in (("A", "A.."), ("A?", "A??"), ("A.", "A..")):
        expected = tts.tokenizer.encode(same, "en")
        assert deep.text.tokens(text).tolist() == [255, *expected, 0]
    deep.t3.speech_head._forward_hooks.clear()
    say_in_order(deep, tokens)
    assert deep.synthesize(["A."], voice, seed=0)[0].ended


@pytest.mark.parametrize(
    ("text", "ended"), [("A long text that is far from its end, with many words.", False), ("A.", True)]
)
def test_an_end_forced_by_two_equal_tokens_is_one_only_where_the_text_was_said(
    deep: ChatterboxMultilingualAdapter, voice_file, text: str, ended: bool
) -> None:
    say_in_order(deep, [*range(100, 100 + STOPS_AFTER), 200, 200, *range(300, 320)])
    spoken = deep.synthesize([text], deep.load_voice(voice_file), seed=0)[0]
    assert len(spoken.audio) == (STOPS_AFTER + 2) * 960
    assert spoken.ended == ended
