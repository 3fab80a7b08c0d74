"""Speaker similarity by both encoders: its order on known changes."""

from pathlib import Path

import numpy as np
import pytest

from calm_ft.metrics.base import ModelMissing, NotMeasured, SpeechClip
from calm_ft.metrics.speaker import ResemblyzerSimilarity, WavLMSimilarity
from tests.metrics.conftest import SAMPLE_RATE_HZ, SENTENCES, clip, given, number, recording, speak

NAME = "speaker_similarity_resemblyzer"


def test_more_noise_is_a_lower_similarity() -> None:
    _, prompt, rate_hz = recording(1)
    metric = ResemblyzerSimilarity(prompt, rate_hz)
    clean, noisy, drowned = (number(metric, clip(0, noise=noise), NAME) for noise in (0.0, 0.02, 0.2))
    assert clean > noisy > drowned


def test_a_prompt_is_wholly_similar_to_itself_at_any_level_and_rate() -> None:
    _, prompt, rate_hz = recording()
    metric = ResemblyzerSimilarity(prompt, rate_hz)
    assert number(metric, clip(), NAME) == pytest.approx(1.0, abs=1e-5)
    doubled = np.repeat(prompt, 2)  # the same sound at twice the rate, but for what lies above the old band
    assert number(metric, SpeechClip(doubled, 2 * rate_hz, "a"), NAME) > 0.95


def test_the_speaker_of_the_prompt_is_more_similar_than_another_and_prompts_can_be_changed() -> None:
    first = ResemblyzerSimilarity(speak(SENTENCES[0], "m3"), SAMPLE_RATE_HZ)
    second = first.for_voice("f2", speak(SENTENCES[0], "f2"), SAMPLE_RATE_HZ)
    assert first.identity != second.identity
    m3, f2 = (SpeechClip(speak(SENTENCES[1], voice), SAMPLE_RATE_HZ, "a") for voice in ("m3", "f2"))
    assert number(first, m3, NAME) > number(first, f2, NAME)
    assert number(second, m3, NAME) < number(second, f2, NAME)
    assert number(first, m3, NAME) > number(second, m3, NAME)  # the first still has its own prompt


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(16_000), np.full(100, 0.5)])
def test_without_speech_there_is_a_reason_and_no_number(audio: np.ndarray) -> None:
    _, prompt, rate_hz = recording()
    measured = ResemblyzerSimilarity(prompt, rate_hz).measure(SpeechClip(audio, rate_hz, "a"))
    assert isinstance(measured[NAME], NotMeasured)


def test_without_a_recording_of_the_voice_similarity_is_missing_with_what_to_do() -> None:
    with pytest.raises(ModelMissing, match="pass one as --voice"):
        ResemblyzerSimilarity.build(given(prompt=None))


def test_a_wavlm_in_a_folder_finds_a_prompt_wholly_similar_to_itself(tmp_path: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    config = WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(20, 16), conv_kernel=(40, 16), num_conv_pos_embedding_groups=2, num_conv_pos_embeddings=4,
        tdnn_dim=(8, 8, 8, 8, 8), xvector_output_dim=8, num_buckets=8,
        max_bucket_distance=20,
    )  # fmt: skip
    WavLMForXVector(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16_000, return_attention_mask=True).save_pretrained(tmp_path)
    _, prompt, rate_hz = recording()
    metric = WavLMSimilarity(prompt, rate_hz, str(tmp_path))
    assert number(metric, clip(), "speaker_similarity_wavlm") == pytest.approx(1.0, abs=1e-5)
