"""What the bundle writer leaves loads strictly in the stock package, and is small."""

import os
from pathlib import Path

import pytest
import sentencepiece
import torch
from pocket_tts import TTSModel

from calm_ft.errors import UserError
from tools.nano.bundle import codec_only_state, read_state, write_bundle
from tools.nano.sentences import make_sentences
from tools.nano.shape import NUM_TEXT_PIECES, build_codec
from tools.nano.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "trained.model"
    return train_tokenizer(make_sentences(3000, seed=0, stream="tokenizer"), path)


@pytest.fixture
def bundle(tmp_path: Path, tokenizer: Path) -> Path:
    torch.manual_seed(0)
    state = codec_only_state(build_codec(), tokenizer, seed=0)
    return write_bundle(tmp_path / "bundle", state, tokenizer).parent


def test_a_bundle_loads_strictly_in_the_stock_package_and_holds_the_codecs_weights(bundle: Path, monkeypatch):
    monkeypatch.chdir(bundle)  # stock takes the names in a yaml from the working directory
    tts = TTSModel.load_model(config="config.yaml")
    torch.manual_seed(0)
    for name, weight in build_codec().state_dict().items():
        torch.testing.assert_close(tts.mimi.state_dict()[name], weight.half().float(), atol=0, rtol=0)
    state = tts.get_state_for_audio_prompt(torch.zeros(1, 16_000))
    audio = tts.generate_audio(state, "Hello there.", max_tokens=50)
    assert torch.isfinite(audio).all()


def test_a_bundle_is_below_9_mb_and_names_no_other_folder(bundle: Path):
    assert sorted(path.name for path in bundle.iterdir()) == [
        "config.yaml",
        "model.safetensors",
        "tokenizer.model",
    ]
    assert sum(path.stat().st_size for path in bundle.iterdir()) < 9e6
    assert os.sep not in (bundle / "config.yaml").read_text()


def test_a_bundle_is_replaced_whole_and_other_folders_are_left_alone(bundle: Path, tokenizer: Path):
    state = read_state(bundle)
    state["flow_lm.emb_std"] = torch.full_like(state["flow_lm.emb_std"], 2.0)
    write_bundle(bundle, state, tokenizer)
    assert read_state(bundle)["flow_lm.emb_std"].unique().tolist() == [2.0]
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    (bundle / "config.yaml").unlink()
    with pytest.raises(UserError, match="other files"):
        write_bundle(bundle, state, tokenizer)


def test_the_tokenizer_has_256_pieces_and_knows_every_letter_digit_and_mark(tokenizer: Path):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    assert pieces.vocab_size() == NUM_TEXT_PIECES
    text = "The quick brown fox, JUMPS over 13 lazy dogs! Why? Bold-faced Vivian's 24680579 quizzes."
    assert pieces.unk_id() not in pieces.encode(text)
    assert pieces.decode(pieces.encode(text)) == text
