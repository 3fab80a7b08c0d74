"""Speaker similarity and predicted opinion scores: their order on known changes, and models that are not at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from calm_ft.metrics import hub
from calm_ft.metrics.base import Clip, Metric, ModelMissing, NotMeasured
from calm_ft.metrics.naturalness import DNSMOS, UTMOS
from calm_ft.metrics.registry import available_metrics
from calm_ft.metrics.speaker import ResemblyzerSimilarity, WavLMSimilarity
from tests.metrics.espeak_speech import SAMPLE_RATE_HZ, SENTENCES, speak
from tests.metrics.signals import RATE_HZ, clip, recording, voiced


def number(metric: Metric, of: Clip, name: str) -> float:
    value = metric.measure(of)[name]
    assert not isinstance(value, NotMeasured)
    return value


def test_more_noise_is_a_lower_dnsmos_and_a_lower_similarity() -> None:
    _, prompt, rate_hz = recording(1)
    similarity = ResemblyzerSimilarity(prompt, rate_hz)
    clips = [clip(0, noise=noise) for noise in (0.0, 0.02, 0.2)]
    for metric, name in ((DNSMOS(), "dnsmos_overall"), (similarity, "speaker_similarity_resemblyzer")):
        clean, noisy, drowned = (number(metric, each, name) for each in clips)
        assert clean > noisy > drowned


def test_a_prompt_is_wholly_similar_to_itself_at_any_level_and_rate() -> None:
    _, prompt, rate_hz = recording()
    metric = ResemblyzerSimilarity(prompt, rate_hz)
    name = "speaker_similarity_resemblyzer"
    assert number(metric, clip(), name) == pytest.approx(1.0, abs=1e-5)
    doubled = np.repeat(prompt, 2)  # the same sound at twice the rate, but for what lies above the old band
    assert number(metric, Clip(doubled, 2 * rate_hz, "a"), name) > 0.95


def test_the_same_speaker_is_more_similar_than_another() -> None:
    metric = ResemblyzerSimilarity(speak(SENTENCES[0], "m3"), SAMPLE_RATE_HZ)
    same, other = (
        number(metric, Clip(speak(SENTENCES[1], voice), SAMPLE_RATE_HZ, "a"), "speaker_similarity_resemblyzer")
        for voice in ("m3", "f2")
    )
    assert same > other


def test_a_long_clip_has_a_dnsmos_of_several_windows_and_a_short_one_of_one() -> None:
    _, audio, rate_hz = recording()
    for factor in (1, 8):
        value = number(DNSMOS(), Clip(np.tile(audio, factor), rate_hz, "a"), "dnsmos_overall")
        assert 1 <= value <= 5


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(RATE_HZ), np.full(100, 0.5)])
def test_without_speech_models_give_reasons_and_no_numbers(audio: np.ndarray) -> None:
    _, prompt, rate_hz = recording()
    for metric in (DNSMOS(), ResemblyzerSimilarity(prompt, rate_hz)):
        measured = metric.measure(Clip(audio, rate_hz, "a"))
        assert all(isinstance(each, NotMeasured) for each in measured.values())


def test_models_out_of_reach_are_named_with_the_reason_and_the_others_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_hub_answers", lambda: False)
    monkeypatch.setattr("calm_ft.metrics.naturalness.UTMOS_REPO", "nobody/nothing")
    text, audio, rate_hz = recording()
    available = available_metrics({text: audio}, audio, rate_hz, asr="nobody/nothing")
    assert {"wer", "cer", "utmos"} <= available.missing.keys()
    assert all("out of reach" in available.missing[name] for name in ("wer", "cer", "utmos"))
    assert {"mcd_db", "log_f0_rmse", "dnsmos_overall"} <= {figure.name for figure in available.figures}


def test_without_a_recording_of_the_voice_similarity_is_missing_with_the_reason() -> None:
    text, audio, rate_hz = recording()
    missing = available_metrics({text: audio}, None, rate_hz, asr="none").missing
    assert "pass one as --voice" in missing["speaker_similarity_resemblyzer"]
    assert "no speech recogniser was asked for" in missing["wer"]


def test_utmos_is_what_the_scripted_model_says_of_the_clip_at_16_khz(tmp_path: Path) -> None:
    class Length(torch.nn.Module):
        @torch.jit.export
        def score(self, wav: torch.Tensor) -> torch.Tensor:
            return torch.full((1,), wav.shape[0] / 16000.0)

    torch.jit.script(Length()).save(str(tmp_path / "model.pt"))
    assert number(UTMOS(tmp_path / "model.pt"), Clip(voiced(120, 3.0), RATE_HZ, "a"), "utmos") == pytest.approx(3.0)


def test_a_file_that_is_no_scripted_model_is_missing_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"nothing")
    with pytest.raises(ModelMissing, match="no TorchScript model"):
        UTMOS(tmp_path / "model.pt")


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
