"""The shipped recogniser hears espeak-ng's speech, and refuses what it cannot judge."""

from pathlib import Path

import pytest
import torch
import torchaudio

from calm_ft.errors import UserError
from calm_ft.evaluation.edit_distance import error_rates
from calm_ft.evaluation.embedded_asr import ASSET, EmbeddedASR
from calm_ft.nano.asr_corpus import held_out_sentences
from calm_ft.nano.espeak import SAMPLE_RATE_HZ, synthesize
from calm_ft.nano.voices import DEMO_VOICE, FLOW_LM_VOICES

SENTENCES = [texts[index] for texts in held_out_sentences(0).values() for index in range(8)]


@pytest.fixture(scope="module")
def recogniser() -> EmbeddedASR:
    return EmbeddedASR()


def _speech(index: int) -> torch.Tensor:
    return torch.from_numpy(synthesize(SENTENCES[index], FLOW_LM_VOICES[index]))


def test_held_out_sentences_of_known_voices_are_heard(recogniser: EmbeddedASR):
    pairs = [(text, recogniser.transcribe(_speech(i), SAMPLE_RATE_HZ)) for i, text in enumerate(SENTENCES)]
    assert error_rates(pairs).cer < 0.06


def test_a_voice_that_it_never_heard_is_understood(recogniser: EmbeddedASR):
    clips = [torch.from_numpy(synthesize(text, DEMO_VOICE)) for text in SENTENCES]
    pairs = [(t, recogniser.transcribe(c, SAMPLE_RATE_HZ)) for t, c in zip(SENTENCES, clips, strict=True)]
    assert error_rates(pairs).cer < 0.20


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_audio_at_another_rate_is_resampled(recogniser: EmbeddedASR, rate: int):
    pairs = []
    for index in range(4):
        speech = torchaudio.functional.resample(_speech(index), SAMPLE_RATE_HZ, rate)
        pairs.append((SENTENCES[index], recogniser.transcribe(speech, rate)))
    assert error_rates(pairs).cer < 0.10


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
