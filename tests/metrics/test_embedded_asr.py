"""The shipped recogniser hears espeak-ng's speech, and refuses what it cannot judge."""

from pathlib import Path

import jiwer
import pytest
import torch
import torchaudio

from calm_ft.errors import UserError
from calm_ft.metrics.embedded_recogniser import ASSET, EmbeddedASR, spoken_characters
from tools.nano.asr_corpus import held_out_sentences, read_codec
from tools.nano.codec_evaluation import render
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from tools.nano.voices import DEMO_VOICE, FLOW_LM_VOICES, ZERO_SHOT_VOICES

HELD_OUT = held_out_sentences(0)
SENTENCES = HELD_OUT["everyday"][:12]


@pytest.fixture(scope="module")
def recogniser() -> EmbeddedASR:
    return EmbeddedASR()


def character_error_rate(pairs: list[tuple[str, str]]) -> float:
    return jiwer.cer([spoken_characters(text) for text, _ in pairs], [heard for _, heard in pairs])


def _speech(index: int) -> torch.Tensor:
    return torch.from_numpy(synthesize(SENTENCES[index], FLOW_LM_VOICES[index]))


# Bounds are two to three times what was measured on many more clips (benchmarks/results/nano_asr.json): espeak-ng's
# repeats are not bit-equal.
@pytest.mark.parametrize(("grammar", "bound"), [("everyday", 0.04), ("templates", 0.25)])
def test_held_out_sentences_of_known_voices_are_heard(recogniser: EmbeddedASR, grammar: str, bound: float):
    pairs = []
    for text, voice in zip(HELD_OUT[grammar], FLOW_LM_VOICES, strict=False):
        pairs.append((text, recogniser.transcribe(synthesize(text, voice), SAMPLE_RATE_HZ)))
    assert len(pairs) == len(FLOW_LM_VOICES)
    assert character_error_rate(pairs) < bound


@pytest.mark.parametrize("voice", [DEMO_VOICE, *ZERO_SHOT_VOICES], ids=lambda voice: voice.name)
def test_voices_that_it_never_heard_are_understood(recogniser: EmbeddedASR, voice: EspeakVoice):
    pairs = [(text, recogniser.transcribe(synthesize(text, voice), SAMPLE_RATE_HZ)) for text in SENTENCES]
    assert character_error_rate(pairs) < 0.05


def test_speech_that_went_through_the_embedded_codec_is_understood(recogniser: EmbeddedASR):
    codec = read_codec(ASSET.parent / "nano")
    pairs = []
    for index, text in enumerate(SENTENCES):
        pairs.append((text, recogniser.transcribe(render(codec, _speech(index).numpy()), SAMPLE_RATE_HZ)))
    assert character_error_rate(pairs) < 0.05


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_audio_at_another_rate_is_resampled(recogniser: EmbeddedASR, rate: int):
    pairs = []
    for index in range(4):
        speech = torchaudio.functional.resample(_speech(index), SAMPLE_RATE_HZ, rate)
        pairs.append((SENTENCES[index], recogniser.transcribe(speech, rate)))
    assert character_error_rate(pairs) < 0.05


@pytest.mark.parametrize(
    "audio", [torch.zeros(0), torch.zeros(16_000), torch.full((800,), torch.nan)], ids=["empty", "silent", "nan"]
)
def test_what_holds_no_speech_says_nothing(recogniser: EmbeddedASR, audio: torch.Tensor):
    assert recogniser.transcribe(audio, SAMPLE_RATE_HZ) == ""


def test_a_single_sample_is_no_error(recogniser: EmbeddedASR):
    assert isinstance(recogniser.transcribe(torch.ones(1), SAMPLE_RATE_HZ), str)


def test_only_mono_audio_is_taken(recogniser: EmbeddedASR):
    with pytest.raises(ValueError, match="must be mono"):
        recogniser.transcribe(torch.zeros(2, 100), SAMPLE_RATE_HZ)


def test_another_system_is_refused_unless_forced(recogniser: EmbeddedASR):
    recogniser.check_system(is_nano=True)
    recogniser.check_system(is_nano=False, force=True)
    with pytest.raises(UserError, match="embedded model's synthetic speech alone"):
        recogniser.check_system(is_nano=False)


def test_a_folder_without_weights_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=str(tmp_path)):
        EmbeddedASR(tmp_path)


def test_the_asset_is_small():
    assert sum(path.stat().st_size for path in ASSET.iterdir()) < 3_000_000
