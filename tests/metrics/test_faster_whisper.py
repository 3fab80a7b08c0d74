"""Whisper by CTranslate2: a converted model in a folder, and every way in which there is none."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from calm_ft.metrics import hub
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.recognisers import FasterWhisperTranscriber
from calm_ft.metrics.registry import load_transcriber
from calm_ft.metrics.words import WordErrors
from tests.metrics.signals import recording

END, START = "<|endoftext|>", "<|startoftranscript|>"
SPECIAL = [
    END, START, "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
    "<|notimestamps|>", *(f"<|{number * 0.02:.2f}|>" for number in range(1501)),
]  # fmt: skip


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of 16 channels with random weights, converted as `ct2-transformers-converter` does."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("converted")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in SPECIAL])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token=END).save_pretrained(source)
    WhisperFeatureExtractor().save_pretrained(source)
    end, start = (tokenizer.get_vocab()[each] for each in (END, START))
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start,
        # By default token 50256 is suppressed, which this vocabulary has not: CTranslate2 would write out of bounds.
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    WhisperForConditionalGeneration(config).save_pretrained(source)
    files = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(source), copy_files=files).convert(str(folder), force=True)
    return folder


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_hub_answers", lambda: False)


def test_a_converted_model_in_a_folder_hears_audio_at_any_rate_and_the_same_twice(converted: Path) -> None:
    transcriber = FasterWhisperTranscriber(str(converted))
    _, audio, rate_hz = recording()
    heard = [transcriber.transcribe(audio, rate_hz) for _ in range(2)]
    assert heard[0] == heard[1]
    assert isinstance(transcriber.transcribe(np.repeat(audio, 2), 2 * rate_hz), str)


def test_it_is_chosen_by_its_prefix_and_named_in_the_scores(converted: Path) -> None:
    words = WordErrors(load_transcriber(f"faster-whisper:{converted}"))
    assert words.identity == f"words-1 faster-whisper:{converted}"


def test_a_size_that_is_not_cached_is_missing_because_the_hub_is_out_of_reach(no_hub: None) -> None:
    with pytest.raises(ModelMissing, match=r"faster-whisper:small.en is not in the local cache and the hub is out of"):
        FasterWhisperTranscriber("small.en")


def test_a_size_that_there_is_not_is_said_with_those_that_there_are() -> None:
    with pytest.raises(ModelMissing, match=r"no model 'smal.en': name one of tiny.en, .*small.en"):
        FasterWhisperTranscriber("smal.en")


@pytest.mark.parametrize(
    ("lost", "reason"), [("tokenizer.json", "no tokenizer.json"), ("model.bin", "no CTranslate2 Whisper")]
)
def test_a_folder_that_lacks_a_file_is_missing_with_the_reason(
    lost: str, reason: str, converted: Path, tmp_path: Path
) -> None:
    shutil.copytree(converted, tmp_path / "model")
    (tmp_path / "model" / lost).unlink()
    with pytest.raises(ModelMissing, match=reason):
        FasterWhisperTranscriber(str(tmp_path / "model"))
