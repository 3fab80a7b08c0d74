"""Word and character errors, and recognisers from a folder."""

from pathlib import Path

import numpy as np
import pytest

from calm_ft.metrics import hub
from calm_ft.metrics.base import Clip, ModelMissing, NotMeasured
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.metrics.recognisers import HubTranscriber
from calm_ft.metrics.words import WordErrors, error_rates
from tests.metrics.signals import RATE_HZ, recording, voiced


class Hears:
    """A recogniser that always hears the same."""

    def __init__(self, heard: str) -> None:
        self.name, self.heard = f"hears {heard}", heard

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        return self.heard


def test_one_wrong_word_of_five_is_a_fifth() -> None:
    rates = error_rates("The cat sat down here.", "the cat sat down there")
    assert rates["wer"] == pytest.approx(1 / 5)
    assert rates["cer"] == pytest.approx(1 / len("the cat sat down here"))


def test_a_word_that_is_not_in_the_recording_is_one_error_by_a_real_recogniser() -> None:
    text, audio, rate_hz = recording(0)
    metric, words = WordErrors(EmbeddedASR()), text.split()
    heard_as_written = metric.measure(Clip(audio, rate_hz, text))["wer"]
    words[1] = "elephant"
    with_another = metric.measure(Clip(audio, rate_hz, " ".join(words)))["wer"]
    assert float(with_another) - float(heard_as_written) == pytest.approx(1 / len(words))  # type: ignore[arg-type]


def test_a_runaway_transcript_exceeds_one() -> None:
    assert error_rates("Yes.", "yes yes yes yes")["wer"] == 3.0


def test_spelling_numbers_case_and_punctuation_are_no_errors() -> None:
    rates = error_rates("Mr. Grey can't colour twenty-one dogs!", "mister gray can not color 21 dogs")
    assert rates == {"wer": 0.0, "cer": 0.0}


def test_silence_is_all_words_missed() -> None:
    measured = WordErrors(Hears("anything")).measure(Clip(np.zeros(RATE_HZ), RATE_HZ, "Two words."))
    assert measured == {"wer": 1.0, "cer": 1.0}


@pytest.mark.parametrize(
    ("audio", "text", "reason"),
    [(np.zeros(0), "Two words.", "no samples"), (voiced(120), "", "no word"), (voiced(120), "?!", "no word")],
)
def test_no_audio_and_no_text_have_no_rate_but_a_reason(audio: np.ndarray, text: str, reason: str) -> None:
    measured = WordErrors(Hears("a")).measure(Clip(audio, RATE_HZ, text))
    assert all(isinstance(each, NotMeasured) and reason in each.reason for each in measured.values())


def test_a_recogniser_out_of_reach_is_missing_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_hub_answers", lambda: False)
    with pytest.raises(ModelMissing, match="nobody/nothing is not in the local cache and the hub is out of reach"):
        HubTranscriber("nobody/nothing")


def test_a_folder_that_holds_no_recogniser_is_missing_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no speech recogniser"):
        HubTranscriber(str(tmp_path))


def test_a_recogniser_in_a_folder_hears_audio_at_any_rate(tmp_path: Path) -> None:
    save_tiny_recogniser(tmp_path)
    transcriber = HubTranscriber(str(tmp_path))
    assert isinstance(transcriber.transcribe(voiced(120, 1.0, 24_000), 24_000), str)
    assert isinstance(transcriber.transcribe(voiced(120, 35.0, 16_000), 16_000), str)


def save_tiny_recogniser(folder: Path) -> None:
    """A CTC recogniser with random weights, as a folder of transformers."""
    import json

    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    vocabulary = {token: index for index, token in enumerate(["<pad>", "<unk>", "|", "a", "b"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16_000).save_pretrained(folder)
    config = Wav2Vec2Config(
        vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(20, 16), conv_kernel=(40, 16), num_conv_pos_embedding_groups=2,
        num_conv_pos_embeddings=4,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
