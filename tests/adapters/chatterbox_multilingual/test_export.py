"""Exports as the unmodified package loads them, and as this project finds their language again."""

from pathlib import Path

import pytest
import torch
from chatterbox.models.t3 import T3
from chatterbox.models.voice_encoder import VoiceEncoder
from chatterbox.mtl_tts import ChatterboxMultilingualTTS, punc_norm
from chatterbox.tts import Conditionals
from safetensors.torch import load_file

from calm_ft.adapters.chatterbox.tiny import TinyS3Gen
from calm_ft.adapters.chatterbox_multilingual.adapter import ChatterboxMultilingualAdapter
from calm_ft.adapters.chatterbox_multilingual.models import write_random_files
from calm_ft.config import build, compose_config, plain
from calm_ft.errors import UserError
from calm_ft.runs import adapter_for
from tests.adapters.chatterbox.test_export import nudge
from tests.adapters.chatterbox_multilingual.conftest import make_adapter

FILES = ["README.md", "conds.pt", "grapheme_mtl_merged_expanded_v1.json", "language.txt", "s3gen.pt"]
FILES += ["t3_mtl23ls_v2.safetensors", "ve.pt"]


def test_an_export_loads_strictly_into_upstreams_classes_and_speaks_its_language(voice_file, tmp_path: Path) -> None:
    adapter, folder = make_adapter("chatterbox_full", language="de"), tmp_path / "export"
    nudge(adapter.t3)
    adapter.export(folder, voice_file)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for name, fresh, tuned in (
        ("t3_mtl23ls_v2.safetensors", T3(adapter.t3.hp), adapter.t3),
        ("s3gen.pt", TinyS3Gen(), adapter.s3gen),
        ("ve.pt", VoiceEncoder(), adapter.voice_encoder),
    ):
        path = folder / name
        stored = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        fresh.load_state_dict(stored)  # strict, as from_local has it
        assert all(torch.equal(stored[key], tensor) for key, tensor in tuned.state_dict().items())
    assert Conditionals.load(folder / "conds.pt").t3.speaker_emb.shape == (1, 256)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert 'generate("Guten Tag.", language_id="de")' in card
    again = adapter_for(str(folder))
    assert isinstance(again, ChatterboxMultilingualAdapter)
    assert again.language == "de"
    assert torch.equal(again.text.tokens("Schön."), adapter.text.tokens("Schön."))
    again.export(tmp_path / "again", voice_file)
    assert (tmp_path / "again" / "language.txt").read_text() == "de\n"


@pytest.mark.parametrize("language", ["fr", None])
def test_a_run_begins_from_an_export_in_any_language_that_the_model_has(voice_file, tmp_path, language) -> None:
    make_adapter(language="de").export(tmp_path / "export", voice_file)
    if language is None:
        with pytest.raises(UserError, match=r"adapter.language is missing"):
            make_adapter(local_dir=str(tmp_path / "export"), language=None)
    else:
        assert make_adapter(local_dir=str(tmp_path / "export"), language=language).language == language


def test_a_tokenizer_of_more_tokens_than_the_model_has_rows_is_refused(voice_file, tmp_path: Path) -> None:
    make_adapter().export(tmp_path / "export", voice_file)
    tokenizer = tmp_path / "export" / FILES[2]
    tokenizer.write_text(tokenizer.read_text(encoding="utf-8").replace('"a": 84', '"a": 404'), encoding="utf-8")
    with pytest.raises(UserError, match=r"is not the tokenizer of Chatterbox Multilingual .it has a token 404"):
        make_adapter(local_dir=str(tmp_path / "export"))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["chatterbox_full", "chatterbox_new_language"])
def test_at_full_size_from_local_has_every_tensor_and_token_of_the_tuned_model(
    voice_file, tmp_path: Path, monkeypatch, experiment: str
) -> None:
    monkeypatch.setattr("chatterbox.models.tokenizers.tokenizer.ChineseCangjieConverter", lambda _: None)
    base = write_random_files(tmp_path / "base")
    overrides = [f"experiment={experiment}", "adapter=chatterbox_multilingual"]
    settings = plain(compose_config(overrides))["adapter"]
    language, text = ("fr", "Bonjour.") if experiment == "chatterbox_full" else ("ka", "გამარჯობა, აბა.")
    adapter = build({**settings, "local_dir": str(base), "max_speech_tokens": 6, "language": language})
    if experiment == "chatterbox_new_language":
        adapter.fit_vocabulary([text])
    nudge(adapter.t3)
    adapter.export(tmp_path / "export", voice_file)
    tts = ChatterboxMultilingualTTS.from_local(tmp_path / "export", "cpu")
    for theirs, ours in ((tts.t3, adapter.t3), (tts.s3gen, adapter.s3gen), (tts.ve, adapter.voice_encoder)):
        state = theirs.state_dict()
        assert state.keys() == ours.state_dict().keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in ours.state_dict().items())
    voice = adapter.load_voice(voice_file)
    assert torch.equal(tts.conds.gen["prompt_feat"], voice.gen["prompt_feat"])
    spoken = adapter.synthesize([text], voice, seed=0)[0]
    assert torch.isfinite(spoken.audio).all()
    given = ("fr", text) if language == "fr" else (None, f"[ka]{text}")
    assert adapter.text.tokens(text).tolist() == [255, *tts.tokenizer.encode(punc_norm(given[1]), given[0]), 0]
