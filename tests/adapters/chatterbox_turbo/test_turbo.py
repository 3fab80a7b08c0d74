"""Chatterbox Turbo against upstream's own program around the same networks."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from chatterbox.models.t3 import T3
from chatterbox.models.voice_encoder import VoiceEncoder
from chatterbox.tts_turbo import ChatterboxTurboTTS, Conditionals
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy, t3_outputs
from calm_ft.adapters.chatterbox.tiny import TinyS3Gen
from calm_ft.adapters.chatterbox_turbo.adapter import ChatterboxTurboAdapter, generate_tokens
from calm_ft.adapters.chatterbox_turbo.models import write_random_files
from calm_ft.adapters.playing import Playing
from calm_ft.config import build, compose_config, plain
from calm_ft.data.audio import Clip, load_clip
from calm_ft.data.dataset import Example
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.finetuning.lora import PEFT_FOLDER, Lora
from calm_ft.finetuning.strategy import LastNLayers
from calm_ft.randomness import make_rng
from tests.adapters.chatterbox.test_export import assert_holds, nudge
from tests.adapters.chatterbox.test_t3_rows import generated_row
from tests.adapters.chatterbox.test_trunk import keep, placed
from tests.adapters.chatterbox_turbo.conftest import make_turbo
from tests.adapters.recordings import write_speechlike

YES = torch.tensor([True])
FILES = [
    "README.md",
    "added_tokens.json",
    "conds.pt",
    "merges.txt",
    "s3gen_meanflow.safetensors",
    "special_tokens_map.json",
    "t3_turbo_v1.safetensors",
    "tokenizer_config.json",
    "ve.safetensors",
    "vocab.json",
]


def stock(adapter: ChatterboxTurboAdapter) -> ChatterboxTurboTTS:
    """Upstream's own program around the same networks."""
    tokenizer = adapter.models.tokenizer
    tokenizer.pad_token = tokenizer.eos_token  # as `from_local` has it
    return ChatterboxTurboTTS(adapter.t3, adapter.s3gen, adapter.voice_encoder, tokenizer, "cpu")


# ---- Text ----


@pytest.mark.parametrize(
    "text", ["hello there", "Well… “no”: it’s  2 o'clock — or é?", "That is funny [laugh], is it not", "A" * 300]
)
def test_text_is_tokenized_as_by_stock(turbo: ChatterboxTurboAdapter, text: str, monkeypatch) -> None:
    tts, seen = stock(turbo), []
    tts.conds = Conditionals(None, {})

    class Heard(Exception):  # noqa: N818 - ends stock's generation when the text has been heard
        pass

    def hear(**arguments: torch.Tensor) -> None:
        seen.append(arguments["text_tokens"][0])
        raise Heard

    monkeypatch.setattr(turbo.t3, "inference_turbo", hear)
    with pytest.raises(Heard):
        tts.generate(text)
    if len(seen[0]) > turbo.text._max_text_tokens:
        with pytest.raises(UserError, match=r"more than adapter.max_text_tokens=256"):
            turbo.text.tokens(text)
        return
    assert torch.equal(turbo.text.tokens(text), seen[0])


@pytest.mark.parametrize("text", ["", "  ", "?!", "[]"])
def test_a_text_without_words_is_refused(turbo: ChatterboxTurboAdapter, text: str) -> None:
    with pytest.raises(UserError, match="no letter or digit"):
        turbo.check_text(text)


def test_only_upstreams_punctuation_changes_a_text(turbo: ChatterboxTurboAdapter) -> None:
    assert turbo.text_coverage("“Ça va…”").dropped.keys() == {"“", "…", "”"}
    assert not turbo.text_coverage("Ça va").unknown


# ---- Rows ----


@pytest.mark.slow
@torch.no_grad()
def test_teacher_forced_logits_are_those_of_stock_generation(
    turbo: ChatterboxTurboAdapter, turbo_examples: list[Example], turbo_voice_file: Path
) -> None:
    voice, recorded = turbo.load_voice(turbo_voice_file), []
    hook = turbo.t3.speech_head.register_forward_hook(lambda *each: recorded.append(each[2][0, -1]))
    text = turbo.text.tokens("A few words.")
    torch.manual_seed(0)
    tokens, ended = generate_tokens(turbo.models, voice, text, turbo._sampling(Playing()))
    hook.remove()
    assert not ended
    row = generated_row(turbo.collate(turbo_examples[:1]), voice, text, tokens)
    outputs = t3_outputs(turbo.t3, row, False, YES, YES)
    ours, theirs = turbo.t3.speech_head(outputs.speech[0, : len(recorded)]), torch.stack(recorded)
    assert len(recorded) == turbo.max_speech_tokens + 1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_step_from_kept_outputs_is_the_step_in_which_all_layers_run(
    turbo: ChatterboxTurboAdapter, turbo_examples: list[Example], tmp_path: Path
) -> None:
    """GPT-2 adds its positions before the first layer; what is kept has them already."""
    LastNLayers(1).apply(turbo, 1e-3)
    rows = placed(turbo_examples)
    plain_batch = turbo.collate(rows)
    keep(turbo, rows, tmp_path)  # type: ignore[arg-type]
    kept_batch = turbo.collate(rows)
    assert kept_batch.kept is not None
    found = []
    for batch in (plain_batch, kept_batch):
        turbo.zero_grad()
        loss = turbo.loss(batch, make_rng(0, "loss")).total
        loss.backward()
        found.append((loss.detach(), {name: p.grad for name, p in turbo.named_parameters() if p.grad is not None}))
    (loss, gradients), (kept_loss, kept_gradients) = found
    torch.testing.assert_close(kept_loss, loss, rtol=1e-4, atol=1e-6)
    assert kept_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(kept_gradients[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_what_upstream_does_not_use_gets_no_gradient_and_does_not_train(
    turbo: ChatterboxTurboAdapter, turbo_examples: list[Example]
) -> None:
    turbo.loss(turbo.collate(turbo_examples), make_rng(0, "x")).total.backward()
    parts = turbo.components()
    for name, part in parts.items():
        reached = any(p.grad is not None and p.grad.abs().max() > 0 for p in part.module.parameters())
        assert reached == part.trainable, name
    assert not parts["t3.unused"].trainable
    assert not parts["t3.text_head"].trainable


def test_a_training_step_draws_nothing_from_global_random_state(
    turbo: ChatterboxTurboAdapter, turbo_examples: list[Example]
) -> None:
    """GPT-2's own dropout would."""
    turbo.t3.train()
    state = torch.get_rng_state()
    one, other = (turbo.loss(turbo.collate(turbo_examples), make_rng(0, "x")).total for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


# ---- Voices ----


@pytest.fixture
def loud(tmp_path: Path) -> Path:
    """A recording of whole tokens that is louder than stock's references."""
    clip = load_clip(Utterance("x", write_speechlike(tmp_path / "raw.wav", 18.0, 24_000), ""), 24_000, 0.2)
    samples = 0.9 * clip.samples[: len(clip.samples) // 960 * 960]
    soundfile.write(tmp_path / "loud.wav", (samples / samples.abs().max()).numpy(), 24_000, subtype="FLOAT")
    return tmp_path / "loud.wav"


@pytest.mark.slow
def test_a_voice_is_what_stock_prepares_of_the_recording_at_its_loudness(
    turbo: ChatterboxTurboAdapter, loud: Path, tmp_path: Path
) -> None:
    """Stock's own normalisation gives float64, on which its networks fail: it is called first, and turned off then."""
    tts, (samples, rate) = stock(turbo), soundfile.read(loud, dtype="float32")
    quiet = tts.norm_loudness(samples, rate).astype(np.float32)
    assert abs(quiet).max() < 0.5 * abs(samples).max()
    soundfile.write(tmp_path / "quiet.wav", quiet, rate, subtype="FLOAT")
    with torch.no_grad():
        tts.prepare_conditionals(tmp_path / "quiet.wav", norm_loudness=False)
    voice = turbo.load_voice(loud)
    assert voice.t3.cond_prompt_speech_tokens.shape == (1, 375)
    same = (voice.t3.cond_prompt_speech_tokens == tts.conds.t3.cond_prompt_speech_tokens).float().mean()
    assert same > 0.97
    torch.testing.assert_close(voice.t3.speaker_emb, tts.conds.t3.speaker_emb, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        voice.gen["prompt_feat"][:, :300], tts.conds.gen["prompt_feat"][:, :300], rtol=1e-3, atol=1e-2
    )
    (features,) = turbo.encode([Clip(Utterance("x", loud, ""), torch.from_numpy(samples), rate)])
    torch.testing.assert_close(features["speaker_embedding"], voice.t3.speaker_emb[0], rtol=1e-3, atol=1e-3)
    assert len(features["prompt_tokens"]) == 375


@pytest.mark.parametrize("samples", [torch.zeros(24_000), torch.ones(5_000)], ids=["silence", "too short"])
def test_what_has_no_loudness_stays_as_it_is(turbo: ChatterboxTurboAdapter, samples: torch.Tensor) -> None:
    assert torch.equal(turbo.hearing.heard(samples), samples)


def test_a_recording_of_five_seconds_is_too_short_as_for_stock(turbo: ChatterboxTurboAdapter, tmp_path: Path) -> None:
    path = write_speechlike(tmp_path / "short.wav", 4.7, 24_000)
    with pytest.raises(AssertionError, match="longer than 5 seconds"):
        stock(turbo).prepare_conditionals(path)
    with pytest.raises(UserError, match=r"lasts 4\.\d\d s, too short for a voice prompt: give one of at least 5 s"):
        turbo.load_voice(path)


# ---- Speech ----


def test_a_stop_at_the_limit_is_no_end_and_one_before_it_is(
    turbo: ChatterboxTurboAdapter, turbo_voice_file: Path
) -> None:
    voice, stop = turbo.load_voice(turbo_voice_file), turbo.t3.hp.stop_speech_token
    turbo.max_speech_tokens = 12
    for bias, ended in ((-1e4, False), (1e4, True)):
        with torch.no_grad():
            turbo.t3.speech_head.bias[stop] = bias
        (said,) = turbo.synthesize(["Hello."], voice, seed=0)
        assert said.ended == ended
        assert (len(said.audio) > 12 * 960) != ended  # 13 tokens and the silence behind them, or next to nothing


def test_speech_is_what_stock_says_with_the_same_random_state(
    turbo: ChatterboxTurboAdapter, turbo_voice_file: Path, monkeypatch
) -> None:
    """But for the seed, which is ours, and the limit of tokens, which stock's `generate` does not take."""
    tts = stock(turbo)
    tts.conds = turbo.load_voice(turbo_voice_file)
    generate, said = turbo.t3.inference_turbo, []
    turbo.max_speech_tokens = 10
    monkeypatch.setattr(turbo.t3, "inference_turbo", lambda **a: generate(**{**a, "max_gen_len": 10}))
    monkeypatch.setattr(
        "calm_ft.adapters.chatterbox.synthesis.torch.manual_seed",
        lambda seed: torch.random.default_generator.manual_seed(3),
    )
    (ours,) = turbo.synthesize(["Hello there."], turbo.load_voice(turbo_voice_file), seed=0)
    torch.random.default_generator.manual_seed(3)
    said.append(tts.generate("Hello there.")[0])
    assert len(ours.audio) == 14 * 960
    torch.testing.assert_close(ours.audio, said[0].float().clamp(-1, 1), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_nothing_is_printed_while_it_speaks(turbo: ChatterboxTurboAdapter, turbo_voice_file: Path, capfd) -> None:
    turbo.max_speech_tokens = 5
    voice = turbo.load_voice(turbo_voice_file)
    capfd.readouterr()
    turbo.synthesize(["Hello."], voice, seed=0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("playing", "match"),
    [(Playing(cfg_coef=2), r"without guidance: leave cfg_coef \(2\) out"), (Playing(temperature=0), "more than 0")],
)
def test_settings_that_it_cannot_speak_with_are_refused(
    turbo: ChatterboxTurboAdapter, playing: Playing, match: str
) -> None:
    with pytest.raises(UserError, match=match):
        turbo.play_as(playing)


# ---- Files ----


def test_an_export_loads_strictly_into_upstreams_classes_and_speaks(
    turbo: ChatterboxTurboAdapter, turbo_voice_file: Path, tmp_path: Path
) -> None:
    nudge(turbo.t3)
    turbo.export(tmp_path / "export", turbo_voice_file)
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == FILES
    for name, fresh, tuned in (
        ("t3_turbo_v1.safetensors", T3(turbo.t3.hp), turbo.t3),
        ("s3gen_meanflow.safetensors", TinyS3Gen(meanflow=True), turbo.s3gen),
        ("ve.safetensors", VoiceEncoder(), turbo.voice_encoder),
    ):
        fresh.load_state_dict(load_file(tmp_path / "export" / name), strict=True)
        assert_holds(tmp_path / "export" / name, tuned)
    played = T3(turbo.t3.hp)
    played.load_state_dict(load_file(tmp_path / "export" / "t3_turbo_v1.safetensors"), strict=True)
    del played.tfmr.wte  # as stock does after loading
    voice = Conditionals.load(tmp_path / "export" / "conds.pt")
    text = turbo.text.tokens("Hello there.")[None]
    drawn = []
    for t3, conditions in ((played.eval(), voice), (turbo.t3, turbo.load_voice(turbo_voice_file))):
        torch.manual_seed(0)
        drawn.append(t3.inference_turbo(conditions.t3, text, max_gen_len=8))
    assert torch.equal(*drawn)


def test_lora_lies_upon_conv1d_and_pefts_file_puts_it_there(turbo: ChatterboxTurboAdapter, tmp_path: Path) -> None:
    strategy = Lora(rank=4, alpha=8, targets={"t3": ["c_attn", "c_proj", "c_fc"]})
    strategy.apply(turbo, 1e-2)
    with torch.no_grad():
        for name, parameter in turbo.named_parameters():
            if parameter.requires_grad and "lora_B" in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    strategy.save(turbo, tmp_path)
    rows = torch.randn(1, 7, 64, generator=torch.Generator().manual_seed(0))

    class Holder(nn.Module):
        """T3 under its own name, as the file has it."""

        def __init__(self, t3: T3) -> None:
            super().__init__()
            self.t3 = t3

    plain_model = make_turbo()
    before = plain_model.t3.tfmr(inputs_embeds=rows).last_hidden_state
    holder = Holder(plain_model.t3)
    PeftModel.from_pretrained(holder, str(tmp_path / PEFT_FOLDER))  # puts its layers into the holder's own modules
    adapted = turbo.t3.tfmr(inputs_embeds=rows).last_hidden_state
    assert not torch.allclose(adapted, before, atol=1e-3)
    theirs = holder.t3.tfmr(inputs_embeds=rows).last_hidden_state
    torch.testing.assert_close(theirs, adapted, rtol=1e-5, atol=1e-5)
    with strategy.merged(turbo):
        torch.testing.assert_close(turbo.t3.tfmr(inputs_embeds=rows).last_hidden_state, adapted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_at_full_size_from_local_has_every_tensor_of_the_tuned_model(turbo_voice_file: Path, tmp_path: Path) -> None:
    base = write_random_files(tmp_path / "base")
    settings = plain(compose_config(["experiment=chatterbox_turbo_t3"]))["adapter"]
    adapter = build({**settings, "local_dir": str(base), "max_speech_tokens": 6})
    nudge(adapter.t3)
    adapter.export(tmp_path / "export", turbo_voice_file)
    assert (tmp_path / "export" / "s3gen_meanflow.safetensors").samefile(base / "s3gen_meanflow.safetensors")
    tts = ChatterboxTurboTTS.from_local(tmp_path / "export", "cpu")
    for loaded, tuned in ((tts.t3, adapter.t3), (tts.s3gen, adapter.s3gen), (tts.ve, adapter.voice_encoder)):
        theirs, ours = loaded.state_dict(), tuned.state_dict()
        assert ours.keys() - theirs.keys() == ({"tfmr.wte.weight"} if tuned is adapter.t3 else set())
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    spoken = adapter.synthesize(["Hello there."], adapter.load_voice(turbo_voice_file), seed=0)[0]
    assert len(spoken.audio) == (7 + 3) * 960
    assert torch.isfinite(spoken.audio).all()


# ---- Refusals ----


@pytest.mark.parametrize("experiment", ["chatterbox_s3gen", "chatterbox_full"])
def test_the_distilled_s3gen_does_not_train(experiment: str) -> None:
    with pytest.raises(UserError, match="no loss for it: choose experiment=chatterbox_turbo_t3"):
        make_turbo(experiment)


@pytest.mark.parametrize("setting", [{"text_weight": 0.1}, {"double_start": True}])
def test_rows_of_the_english_model_are_refused(setting: dict[str, object]) -> None:
    own = {"text_weight": 0.0, "text_dropout": 0.0, "condition_dropout": 0.0, "double_start": False}
    with pytest.raises(UserError, match=r"set objective.text_weight=0 and objective.double_start=false"):
        make_turbo(objective=T3CrossEntropy(**{**own, **setting}))  # type: ignore[arg-type]


def test_files_of_the_english_model_are_named(tmp_path: Path) -> None:
    (tmp_path / "t3_cfg.safetensors").touch()
    with pytest.raises(UserError, match=r"lacks ve.safetensors, t3_turbo_v1.safetensors.* of Chatterbox Turbo"):
        make_turbo(local_dir=str(tmp_path))


def test_a_limit_where_the_tokenizer_cuts_is_refused() -> None:
    with pytest.raises(UserError, match=r"adapter.max_text_tokens=1025 must be an integer from 1 to 1024"):
        make_turbo(max_text_tokens=1025)
