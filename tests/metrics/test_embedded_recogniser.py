"""The embedded recogniser: its features and units, and that it hears espeak-ng's speech."""

from pathlib import Path

import jiwer
import pytest
import torch
import torchaudio

from calm_ft.errors import UserError
from calm_ft.metrics.embedded_recogniser import (
    ASSET,
    BLANK,
    CHARACTERS,
    FRAME_STRIDE,
    HOP_SAMPLES,
    NUM_MELS,
    NUM_UNITS,
    CTCNetwork,
    EmbeddedASR,
    LogMel,
    decode_greedily,
    encode_text,
    spoken_characters,
)
from tools.nano.asr_corpus import read_codec
from tools.nano.assets import held_out_sentences
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
@pytest.mark.parametrize(("grammar", "bound"), [("everyday", 0.04), ("rare", 0.25)])
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


def test_a_folder_without_weights_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=str(tmp_path)):
        EmbeddedASR(tmp_path)


def test_the_asset_is_small():
    assert sum(path.stat().st_size for path in ASSET.iterdir()) < 3_000_000


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


def test_the_network_has_less_than_a_million_parameters():
    assert sum(parameter.numel() for parameter in CTCNetwork().parameters()) < 1_500_000


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Don't  STOP, Clara!", "don't stop clara"),
        ("Ann’s café-bar", "ann's cafe bar"),
        ("  4 of 20.", "of"),
        ("!?", ""),
    ],
)
def test_only_letters_apostrophes_and_single_spaces_are_spoken(text: str, spoken: str):
    assert spoken_characters(text) == spoken


def _scores(path: str) -> torch.Tensor:
    """One-hot scores of a path in which `_` is the blank."""
    units = [BLANK if character == "_" else 1 + CHARACTERS.index(character) for character in path]
    return torch.nn.functional.one_hot(torch.tensor(units, dtype=torch.long), NUM_UNITS).float()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("__hheel_llo__", "hello"),
        ("hello", "helo"),  # without a blank between them, equal letters are one
        ("_ _a_ _ _b_ ", "a b"),
        ("____", ""),
        ("", ""),
    ],
)
def test_repeats_merge_before_blanks_are_dropped(path: str, text: str):
    assert decode_greedily(_scores(path)) == text


def test_a_text_comes_back_from_its_units_with_blanks_between_them():
    units = encode_text("The moon's bell.")
    spaced = torch.stack([units, torch.zeros_like(units)], dim=1).flatten()
    assert decode_greedily(torch.nn.functional.one_hot(spaced, NUM_UNITS)) == "the moon's bell"
