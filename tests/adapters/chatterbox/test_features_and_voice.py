"""Cached features and voices are what upstream's own `prepare_conditionals` makes of the same recording."""

from pathlib import Path

import pytest
import torch
from chatterbox.tts import ChatterboxTTS, Conditionals

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.synthesis import save_voice
from calm_ft.adapters.voice_library import VoiceLibrary, VoiceNotes
from calm_ft.data.audio import Clip, load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.recordings import speechlike, write_speechlike


def stock(adapter: ChatterboxAdapter) -> ChatterboxTTS:
    """Upstream's own program around the same networks."""
    return ChatterboxTTS(adapter.t3, adapter.s3gen, adapter.voice_encoder, adapter.models.tokenizer, "cpu")


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A recording that our preparation leaves as it is: 24 kHz, no silence at its ends, whole tokens."""
    clip = load_clip(Utterance("x", write_speechlike(tmp_path / "raw.wav", 8.0, 24_000), ""), 24_000, 0.2)
    samples = clip.samples[: len(clip.samples) // 960 * 960]
    import soundfile

    soundfile.write(tmp_path / "prepared.wav", samples.numpy(), 24_000, subtype="FLOAT")
    return tmp_path / "prepared.wav"


@pytest.fixture
def upstream_voice(adapter: ChatterboxAdapter, prepared: Path) -> Conditionals:
    tts = stock(adapter)
    with torch.no_grad():
        tts.prepare_conditionals(prepared)
    return tts.conds


def test_features_are_upstreams_conditioning_of_the_same_recording(
    adapter: ChatterboxAdapter, prepared: Path, upstream_voice: Conditionals
) -> None:
    import soundfile

    samples = torch.from_numpy(soundfile.read(prepared, dtype="float32")[0])
    (features,) = adapter.encode([Clip(Utterance("x", prepared, ""), samples, 24_000)])
    torch.testing.assert_close(features["speaker_embedding"], upstream_voice.t3.speaker_emb[0])
    assert torch.equal(features["prompt_tokens"], upstream_voice.t3.cond_prompt_speech_tokens[0])
    assert len(features["prompt_tokens"]) == 150
    torch.testing.assert_close(features["x_vector"], upstream_voice.gen["embedding"][0])
    torch.testing.assert_close(features["mel"], upstream_voice.gen["prompt_feat"][0])
    # Upstream tokenizes T3's prompt and S3Gen's by two resamplers.
    same = (features["speech_tokens"] == upstream_voice.gen["prompt_token"][0]).float().mean()
    assert same > 0.9


def test_a_voice_is_what_stock_prepares(adapter: ChatterboxAdapter, prepared: Path, upstream_voice) -> None:
    voice = adapter.load_voice(prepared)
    assert torch.equal(voice.t3.cond_prompt_speech_tokens, upstream_voice.t3.cond_prompt_speech_tokens)
    torch.testing.assert_close(voice.t3.speaker_emb, upstream_voice.t3.speaker_emb, rtol=1e-3, atol=1e-3)
    num = voice.gen["prompt_token"].shape[1]
    assert voice.gen["prompt_feat"].shape[1] == 2 * num
    torch.testing.assert_close(
        voice.gen["prompt_feat"][:, :300], upstream_voice.gen["prompt_feat"][:, :300], rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
def test_a_saved_voice_is_read_by_upstream_with_weights_alone(
    adapter: ChatterboxAdapter, prepared: Path, tmp_path: Path
) -> None:
    voice = adapter.load_voice(prepared)
    adapter.synthesize(["Hello."], voice, seed=0)  # upstream keeps embeddings in what it is given
    save_voice(voice, tmp_path / "conds.pt")
    content = torch.load(tmp_path / "conds.pt", weights_only=True)
    assert content["t3"]["cond_prompt_speech_emb"] is None
    theirs, ours = Conditionals.load(tmp_path / "conds.pt"), adapter.load_voice(tmp_path / "conds.pt")
    for one in (theirs, ours):
        assert torch.equal(one.t3.speaker_emb, voice.t3.speaker_emb)
        assert torch.equal(one.gen["prompt_feat"], voice.gen["prompt_feat"])


def test_tokens_of_more_than_thirty_seconds_can_be_trained_on(adapter: ChatterboxAdapter) -> None:
    clip = Clip(Utterance("x", Path("x"), ""), speechlike(31.0, 24_000), 24_000)
    (features,) = adapter.encode([clip])
    assert not any(each.is_inference() for each in features.values())
    assert len(features["speech_tokens"]) == 31 * 25
    assert features["x_vector"].requires_grad is False


def test_a_voice_that_is_too_short_is_refused(adapter: ChatterboxAdapter, tmp_path: Path) -> None:
    path = write_speechlike(tmp_path / "short.wav", 0.35, 24_000, seed=1)
    with pytest.raises(UserError, match=r"too short for a voice prompt|less than 0.2 s of speech"):
        make_adapter().load_voice(path)


@pytest.mark.parametrize("spoil", ["missing", "garbage", "other"])
def test_what_is_no_voice_is_refused(adapter: ChatterboxAdapter, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "conds.pt"
    if spoil == "garbage":
        path.write_bytes(b"PK nothing")
    if spoil == "other":
        torch.save({"t3": {}, "gen": {}}, path)
    with pytest.raises(UserError, match=r"There is no voice|is not a saved Chatterbox voice"):
        adapter.load_voice(path)


@pytest.mark.parametrize(
    ("num_frames", "reason"), [(251, "more than adapter.max_speech_tokens=250"), (12, "too short"), (13, None)]
)
def test_clips_too_long_or_too_short_say_why(adapter: ChatterboxAdapter, num_frames: int, reason: str | None) -> None:
    said = adapter.exclusion_reason(num_frames)
    assert (said is None) if reason is None else (reason in str(said))


def test_a_voice_of_several_recordings_has_the_mean_of_their_speaker_embeddings_and_begins_as_the_first(
    adapter: ChatterboxAdapter, prepared: Path, tmp_path: Path
) -> None:
    other = write_speechlike(tmp_path / "other.wav", 3.0, 24_000, seed=5)
    voice = adapter.load_voices([prepared, other])
    singles = [adapter.load_voice(path) for path in (prepared, other)]
    mean = torch.stack([each.t3.speaker_emb for each in singles]).mean(dim=0)
    torch.testing.assert_close(voice.t3.speaker_emb, mean / mean.norm())
    assert not torch.equal(singles[0].t3.speaker_emb, singles[1].t3.speaker_emb)
    num = min(20, singles[0].t3.cond_prompt_speech_tokens.shape[1] // 2)
    assert torch.equal(voice.t3.cond_prompt_speech_tokens[:, :num], singles[0].t3.cond_prompt_speech_tokens[:, :num])
    assert voice.gen["prompt_feat"].shape[1] > singles[0].gen["prompt_feat"].shape[1]


@pytest.mark.slow
def test_the_library_keeps_a_voice_for_every_tuned_model_and_another_for_another_emotion(
    prepared: Path, tmp_path: Path
) -> None:
    library = VoiceLibrary(tmp_path / "voices")
    library.add("anna", [prepared], VoiceNotes())
    adapter = make_adapter()
    first = library.voice("anna", adapter)
    (path,) = (library.folder / "anna").glob("chatterbox*.pt")
    with torch.no_grad():
        for parameter in adapter.t3.parameters():
            parameter.mul_(1.01)
    again = library.voice("anna", adapter)
    assert torch.equal(first.t3.speaker_emb, again.t3.speaker_emb)
    assert adapter.synthesize(["Hello."], again, seed=0)[0].audio.numel() > 0
    assert list((library.folder / "anna").glob("*.pt")) == [path]
    adapter.exaggeration = 0.9
    assert float(library.voice("anna", adapter).t3.emotion_adv) == pytest.approx(0.9)
    path.write_bytes(b"damaged")
    adapter.exaggeration = 0.5
    assert torch.equal(library.voice("anna", adapter).t3.speaker_emb, first.t3.speaker_emb)
