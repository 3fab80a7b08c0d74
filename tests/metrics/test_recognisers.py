"""Which recogniser judges; recognisers of transformers and of CTranslate2 in folders, and every way to have none."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import pre_tokenizers

from calm_ft.config import ASSETS
from calm_ft.errors import UserError
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.metrics.recognisers import (
    ENGLISH_ASR,
    MULTILINGUAL_ASR,
    FasterWhisperTranscriber,
    HubTranscriber,
    choose_recogniser,
    load_transcriber,
)
from calm_ft.metrics.words import WordErrors
from tests.metrics.conftest import recording, voiced

END, START = "<|endoftext|>", "<|startoftranscript|>"
LANGUAGES, TASKS = ["<|en|>", "<|de|>"], ["<|translate|>", "<|transcribe|>"]
SPECIAL = [
    END, START, *LANGUAGES, *TASKS, "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    *(f"<|{number * 0.02:.2f}|>" for number in range(1501)),
]  # fmt: skip
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
UNITS = {unit: index for index, unit in enumerate([*LETTERS, *SPECIAL])}


@pytest.mark.parametrize(
    ("asr", "language", "is_miniature", "chosen"),
    [
        ("auto", "en", False, ENGLISH_ASR),
        ("auto", "de", False, MULTILINGUAL_ASR),
        ("openai/whisper-small", "de", False, "openai/whisper-small"),
        ("faster-whisper:small.en", "en", False, "faster-whisper:small.en"),
        ("moonshine", "en", False, "moonshine"),
        ("none", "de", True, "none"),
    ],
)
def test_the_recogniser_follows_the_language(asr: str, language: str, is_miniature: bool, chosen: str) -> None:
    assert choose_recogniser(asr, language, is_miniature) == chosen


@pytest.mark.parametrize("asr", ["openai/whisper-base.en", "faster-whisper:small.en", "moonshine"])
def test_an_english_recogniser_is_refused_for_another_language_with_what_to_do(asr: str) -> None:
    with pytest.raises(UserError, match=rf"{asr} knows English alone, .*'de': choose .*{MULTILINGUAL_ASR}.*language"):
        choose_recogniser(asr, "de", fits_embedded=False)


def test_the_embedded_recogniser_judges_the_embedded_model_and_no_other_unless_forced() -> None:
    for asr, is_miniature, force in (("auto", True, False), ("embedded", True, False), ("embedded", False, True)):
        assert isinstance(choose_recogniser(asr, "en", is_miniature, force), EmbeddedASR)
    with pytest.raises(UserError, match="embedded model's synthetic speech alone"):
        choose_recogniser("embedded", "en", fits_embedded=False)


def test_without_a_recogniser_there_are_no_word_errors_and_the_reason_is_said() -> None:
    with pytest.raises(ModelMissing, match="no speech recogniser was asked for"):
        load_transcriber("none", "en")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of 16 channels with random weights, as a folder of transformers."""
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    folder = tmp_path_factory.mktemp("whisper")
    WhisperTokenizer(vocab=UNITS, merges=[], extra_special_tokens=SPECIAL[1:]).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    ends: dict[str, Any] = {f"{name}_token_id": UNITS[END] for name in ("bos", "eos", "pad")}
    config = WhisperConfig(
        vocab_size=len(UNITS), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, decoder_start_token_id=UNITS[START], **ends,
        # By default token 50256 is suppressed, which this vocabulary has not: CTranslate2 would write out of bounds.
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=UNITS[START], max_length=20, is_multilingual=True, **ends,
        lang_to_id={each: UNITS[each] for each in LANGUAGES},
        task_to_id={each.strip("<|>"): UNITS[each] for each in TASKS},
        no_timestamps_token_id=UNITS["<|notimestamps|>"],
    )  # fmt: skip
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_multilingual_whisper_is_told_the_language_and_to_transcribe(language: str, whisper: Path) -> None:
    transcriber = HubTranscriber(str(whisper), language)
    read: list[list[int]] = []

    def listen(_: torch.nn.Module, __: Any, inputs: dict[str, Any]) -> None:
        read.append(inputs["input_ids"][0].tolist())

    transcriber._pipeline.model.model.decoder.register_forward_pre_hook(listen, with_kwargs=True)
    transcriber.transcribe(*recording()[1:])
    assert read[0][:3] == [UNITS[START], UNITS[f"<|{language}|>"], UNITS["<|transcribe|>"]]


def test_an_english_whisper_is_told_no_language_which_it_would_refuse(whisper: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whisper, tmp_path / "english")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "is_multilingual": False}))
    assert isinstance(HubTranscriber(str(folder), "en").transcribe(*recording()[1:]), str)


def test_a_recogniser_of_another_kind_hears_audio_at_any_rate_and_of_any_length(tmp_path: Path) -> None:
    save_ctc_recogniser(tmp_path)
    transcriber = HubTranscriber(str(tmp_path), "de")
    assert isinstance(transcriber.transcribe(voiced(120, 1.0, 24_000), 24_000), str)
    assert isinstance(transcriber.transcribe(voiced(120, 35.0, 16_000), 16_000), str)


def save_ctc_recogniser(folder: Path) -> None:
    """A CTC recogniser with random weights, as a folder of transformers."""
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


@pytest.mark.parametrize("name", ["nobody/nothing", "faster-whisper:small.en"])
def test_a_recogniser_that_is_not_cached_is_missing_because_the_hub_is_out_of_reach(name: str, no_hub: None) -> None:
    said = f"{name} is not in the local cache and the hub is out of reach"
    with pytest.raises(ModelMissing, match=rf"{said}: .* Or choose the recogniser moonshine: it needs no download\.$"):
        load_transcriber(name, "en")
    with pytest.raises(ModelMissing, match=rf"{said}: connect once to fetch it\.$"):
        load_transcriber(name, "de")


def test_moonshine_hears_a_clip_at_its_own_rate_and_one_longer_than_it_takes_at_once() -> None:
    pytest.importorskip("moonshine_voice")
    clip = ASSETS / "demo_voice" / "train" / "001.ogg"
    audio, rate_hz = soundfile.read(clip, dtype="float32")
    transcriber = load_transcriber("moonshine", "en")
    assert transcriber.transcribe(audio, rate_hz) == clip.with_suffix(".txt").read_text().strip()
    assert transcriber.transcribe(np.zeros(rate_hz, np.float32), rate_hz) == ""
    padded = np.concatenate([audio, np.zeros(31 * rate_hz - len(audio), np.float32)])
    assert transcriber.transcribe(np.tile(padded, 2), rate_hz).count("inside our sailor") == 2
    assert WordErrors(transcriber, "en").identity.endswith(" tiny-en en")


def test_without_its_package_or_its_model_moonshine_is_missing_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moonshine_voice = pytest.importorskip("moonshine_voice")
    monkeypatch.setattr(moonshine_voice, "get_model_path", lambda name: tmp_path)
    with pytest.raises(ModelMissing, match=r"moonshine-voice \S+ holds no model: install the extra `moonshine`"):
        load_transcriber("moonshine", "en")
    monkeypatch.setitem(sys.modules, "moonshine_voice", None)
    with pytest.raises(ModelMissing, match=r"moonshine-voice cannot be used .*: install the extra `moonshine`"):
        load_transcriber("moonshine", "en")


def test_a_folder_that_holds_no_recogniser_is_missing_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no speech recogniser"):
        HubTranscriber(str(tmp_path))


@pytest.fixture(scope="module")
def converted(whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same Whisper, converted as `ct2-transformers-converter` does."""
    from ctranslate2.converters import TransformersConverter

    folder = tmp_path_factory.mktemp("converted")
    files = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(whisper), copy_files=files).convert(str(folder), force=True)
    return folder


def test_a_converted_model_hears_audio_at_any_rate_and_the_same_twice(converted: Path) -> None:
    transcriber = FasterWhisperTranscriber(str(converted))
    _, audio, rate_hz = recording()
    heard = [transcriber.transcribe(audio, rate_hz) for _ in range(2)]
    assert heard[0] == heard[1]
    assert isinstance(transcriber.transcribe(np.repeat(audio, 2), 2 * rate_hz), str)


def test_a_converted_model_is_told_the_language(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faster_whisper import WhisperModel

    told: list[str] = []
    transcribe = WhisperModel.transcribe

    def listening(model: Any, *arguments: Any, **settings: Any) -> Any:
        told.append(settings["language"])
        return transcribe(model, *arguments, **settings)

    monkeypatch.setattr(WhisperModel, "transcribe", listening)
    transcriber = load_transcriber(f"faster-whisper:{converted}", "de")
    transcriber.transcribe(*recording()[1:])
    assert told == ["de"]


def test_a_converted_model_is_chosen_by_its_prefix_and_named_in_the_scores(converted: Path) -> None:
    words = WordErrors(load_transcriber(f"faster-whisper:{converted}", "en"), "en")
    assert words.identity.endswith(f" faster-whisper:{converted} en")


def test_a_size_that_there_is_not_is_said_with_those_that_there_are() -> None:
    with pytest.raises(ModelMissing, match=r"no model 'smal.en': name one of tiny.en, .*small.en"):
        FasterWhisperTranscriber("smal.en")


@pytest.mark.parametrize(
    ("lost", "reason"), [("tokenizer.json", "no tokenizer.json"), ("model.bin", "no CTranslate2 Whisper")]
)
def test_a_converted_model_that_lacks_a_file_is_missing_with_the_reason(
    lost: str, reason: str, converted: Path, tmp_path: Path
) -> None:
    shutil.copytree(converted, tmp_path / "model")
    (tmp_path / "model" / lost).unlink()
    with pytest.raises(ModelMissing, match=reason):
        FasterWhisperTranscriber(str(tmp_path / "model"))
