"""What a system gets without writing it: the interface's defaults, on the system from outside."""

import shlex
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter, text_beside
from calm_ft.adapters.text_coverage import TextCoverage
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng
from tests.adapters import contract
from tests.adapters.recordings import write_speechlike
from tests.outside_system.adapter import SpectrumAdapter


@pytest.fixture
def adapter() -> SpectrumAdapter:
    return SpectrumAdapter()


@pytest.fixture
def clips(adapter: SpectrumAdapter, tmp_path: Path) -> list[EncodedUtterance]:
    return contract.encoded(adapter, tmp_path)


def test_ten_methods_make_a_system() -> None:
    assert len(TTSAdapter.__abstractmethods__) == 10
    assert all(getattr(TTSAdapter, name).__doc__.count("Called") == 1 for name in TTSAdapter.__abstractmethods__)


def test_a_text_without_a_letter_or_digit_is_refused_and_every_other_counts_as_heard(adapter: SpectrumAdapter) -> None:
    adapter.check_text("3.")
    with pytest.raises(UserError, match="write some words"):
        adapter.check_text(" ...!")
    assert adapter.text_coverage("Ünusual – text") == TextCoverage()


def test_kept_speech_is_known_by_the_text_and_every_plain_setting(adapter: SpectrumAdapter) -> None:
    said = adapter.synthesis_fingerprint("Hello.")
    assert said == adapter.train().synthesis_fingerprint("  Hello. ") == adapter.eval().synthesis_fingerprint("Hello.")
    assert said != adapter.synthesis_fingerprint("Hello?")
    adapter.temperature = 0.3  # type: ignore[assignment]
    assert said != adapter.synthesis_fingerprint("Hello.")


def test_the_command_that_plays_an_export_is_quoted_for_a_shell(adapter: SpectrumAdapter) -> None:
    assert "my runs [2]/export" in shlex.split(adapter.how_to_play(Path("my runs [2]/export")))


def test_a_system_that_uses_no_prompts_gets_none_and_misses_none(
    adapter: SpectrumAdapter, clips: list[EncodedUtterance]
) -> None:
    assert adapter.prompt_pool(clips).choose(clips[0], make_rng(0, "test")) in clips[1:]
    adapter.uses_prompts = False
    pool = adapter.prompt_pool(clips[:1])
    assert pool.choose(clips[0], make_rng(0, "test")) is None
    assert pool.num_without_prompt == 0


def test_a_voice_gets_the_text_that_lies_beside_its_recording(adapter: SpectrumAdapter, tmp_path: Path) -> None:
    voice = write_speechlike(tmp_path / "voice.wav", 2.0, adapter.sample_rate_hz)

    def exported_rate() -> Tensor:
        adapter.export(tmp_path / "export", voice)
        return adapter.load_voice(tmp_path / "export" / "voice.safetensors").frames_per_character

    assert text_beside(voice) is None
    without = exported_rate()
    (tmp_path / "voice.txt").write_text("  Ten bytes. \n", encoding="utf-8")
    assert text_beside(voice) == "Ten bytes."
    assert torch.equal(exported_rate(), adapter.load_voice(voice, "Ten bytes.").frames_per_character)
    assert exported_rate() > 2 * without
    assert text_beside(tmp_path / "voice.txt") is None
