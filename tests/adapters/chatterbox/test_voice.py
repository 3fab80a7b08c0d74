"""A voice is learned while the weights stay: what trains, what stock reads of it, and who speaks with it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from chatterbox.models.t3 import T3
from chatterbox.tts import Conditionals
from safetensors.torch import load_file
from torch import Tensor, nn

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.synthesis import condition_of, save_voice
from calm_ft.adapters.chatterbox.t3_objective import packed_rows
from calm_ft.adapters.chatterbox.tiny import tiny_t3_config
from calm_ft.config import build, compose_config, plain
from calm_ft.data.dataset import Example
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.evaluation.kept_audio import KeptAudio
from calm_ft.evaluation.speaking import Lines, Speaker
from calm_ft.finetuning.strategy import Full, LastNLayers, Strategy
from calm_ft.finetuning.voice import SoftVoicePrompt, SpeakerOffset
from calm_ft.randomness import make_rng
from calm_ft.training.residuals import BaseVoicesResidual, RunResiduals
from tests.adapters import contract
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.chatterbox.test_trunk import keep, placed
from tests.adapters.contract import AdapterCase
from tests.adapters.recordings import write_speechlike

WEIGHTS = ("s3gen.safetensors", "t3_cfg.safetensors", "ve.safetensors")
NUM_TOKENS = 9
BOTH = [SpeakerOffset(), SoftVoicePrompt(NUM_TOKENS)]
each_strategy = pytest.mark.parametrize("strategy", BOTH, ids=lambda each: type(each).__name__)


def tiny(adapter: str, objective: str, folder: Path | None = None) -> TTSAdapter:
    settings = plain(compose_config([f"adapter={adapter}", f"objective={objective}"]))["adapter"]
    return build({**settings, "local_dir": None if folder is None else str(folder)})


def case(adapter: str, objective: str) -> AdapterCase:
    make = partial(tiny, adapter, objective)
    return AdapterCase(adapter, make, make, list(BOTH))


CASES = [
    case("chatterbox_tiny", "chatterbox_t3"),
    case("chatterbox_turbo_tiny", "chatterbox_turbo_t3"),
    case("chatterbox_multilingual_tiny", "chatterbox_t3"),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@torch.no_grad()
def learn(adapter: ChatterboxAdapter, strategy: Strategy, scale: float = 0.3) -> None:
    """As if it had trained."""
    strategy.apply(adapter, 1e-2)
    for parameter in adapter.voice.parameters():
        if parameter.requires_grad:
            parameter.add_(scale * torch.randn(parameter.shape, generator=make_rng(5, "learned")))


def table(part: nn.Embedding | None) -> Tensor:
    """The weights of a part that is there."""
    assert part is not None
    return part.weight


@pytest.fixture
def learned(files: Path) -> ChatterboxAdapter:
    """The model of the files with a learned offset and a learned prompt."""
    adapter = make_adapter(local_dir=str(files))
    for strategy in BOTH:
        learn(adapter, strategy)
    return adapter


def conditioning_in_training(adapter: ChatterboxAdapter, voice: Conditionals, examples: list[Example]) -> Tensor:
    """What conditions a training row that is prompted by the voice, [C, D]."""
    batch = adapter.collate(examples[:1])
    tokens = voice.t3.cond_prompt_speech_tokens
    prompted = replace(
        batch,
        speaker_embedding=voice.t3.speaker_emb,
        prompt_tokens=tokens,
        num_prompt=torch.tensor([tokens.shape[1]]),
    )
    whole = torch.ones(1, dtype=torch.bool)
    packed = packed_rows(adapter.t3, adapter.voice.conditioning(prompted), True, whole, whole)
    return packed.embeddings[0, : packed.starts[1][0]]


@pytest.mark.slow
@every_case
@each_strategy
def test_only_the_part_moves_and_is_in_one_component(case: AdapterCase, strategy: Strategy, tmp_path: Path) -> None:
    def make() -> TTSAdapter:
        adapter = case.make()
        strategy.apply(adapter, 1e-2)
        return adapter

    with_part = AdapterCase(case.name, make, case.reload, case.strategies)
    contract.check_every_parameter_is_in_one_component(with_part)
    contract.check_only_selected_components_move(with_part, strategy, tmp_path)


@pytest.mark.slow
@every_case
@each_strategy
def test_an_export_reloads_with_the_same_residuals(case: AdapterCase, strategy: Strategy, tmp_path: Path) -> None:
    adapter = case.make()
    clips = contract.encoded(adapter, tmp_path)
    strategy.apply(adapter, lr=1e-1)
    batch = adapter.collate(contract.examples(clips))
    base = adapter.residuals(batch, seed=1).values["residual"]
    contract.fit_batch(adapter, batch, num_steps=2, lr=1e-1)
    tuned = adapter.residuals(batch, seed=1).values["residual"]
    adapter.export(tmp_path / "export", write_speechlike(tmp_path / "voice.wav", 6.0, adapter.sample_rate_hz))
    reloaded = case.reload(tmp_path / "export")
    again = reloaded.residuals(reloaded.collate(contract.examples(clips)), seed=1).values["residual"]
    assert not torch.equal(base, tuned)
    assert torch.equal(again, tuned)


@pytest.mark.slow
@each_strategy
def test_a_resumed_run_is_the_run_that_was_not_cut(strategy: Strategy, tmp_path: Path) -> None:
    contract.check_a_resumed_run_is_the_run_that_was_not_cut(CASES[0], strategy, tmp_path)


def test_an_adapter_without_these_strategies_is_as_it_was(adapter: ChatterboxAdapter) -> None:
    assert not [name for name in (*adapter.state_dict(), *adapter.components()) if "voice." in name]


@pytest.mark.slow
def test_an_offset_of_zeros_is_the_base(adapter: ChatterboxAdapter, examples: list[Example]) -> None:
    batch = adapter.collate(examples)
    base = adapter.residuals(batch, seed=0).values["residual"]
    SpeakerOffset().apply(adapter, 1e-2)
    assert torch.equal(adapter.residuals(batch, seed=0).values["residual"], base)


def test_a_prompt_begins_as_the_base_prompted_by_the_first_clip(
    adapter: ChatterboxAdapter, clips: list[EncodedUtterance]
) -> None:
    prompt = clips[0].features()["prompt_tokens"]
    rows = [Example(clips[1], clips[0], seed=0), Example(clips[2], clips[0], seed=0)]
    base = adapter.residuals(adapter.collate(rows), seed=0).values["residual"]
    strategy = SoftVoicePrompt(len(prompt))
    strategy.apply(adapter, 1e-2)
    strategy.begin_with(adapter, (clip.features() for clip in clips))
    assert torch.equal(adapter.residuals(adapter.collate(rows), seed=0).values["residual"], base)


@pytest.mark.parametrize("extra", [0, 3, 1000])
def test_a_prompt_longer_than_the_first_clip_goes_on_with_the_next_and_then_again(
    adapter: ChatterboxAdapter, clips: list[EncodedUtterance], extra: int
) -> None:
    tokens = [clip.features()["prompt_tokens"] for clip in clips]
    num_tokens = min(len(tokens[0]) + extra, 150)
    strategy = SoftVoicePrompt(num_tokens)
    strategy.apply(adapter, 1e-2)
    strategy.begin_with(adapter, (clip.features() for clip in clips))
    said = torch.cat([*tokens, *tokens])[:num_tokens]
    expected = adapter.t3.speech_emb(said[None]) + adapter.t3.speech_pos_emb(said[None])
    assert torch.equal(table(adapter.voice.prompt), expected[0])


@pytest.mark.slow
@each_strategy
def test_stock_conditions_on_an_export_as_training_did(
    files: Path, strategy: Strategy, examples: list[Example], voice_file: Path, tmp_path: Path
) -> None:
    """Bit for bit, by upstream's own classes; and the weights are the base's own files."""
    adapter = make_adapter(local_dir=str(files))
    learn(adapter, strategy)
    adapter.export(tmp_path / "export", voice_file)
    assert all((tmp_path / "export" / name).samefile(files / name) for name in WEIGHTS)
    stock, t3 = Conditionals.load(tmp_path / "export" / "conds.pt"), T3(tiny_t3_config())
    t3.load_state_dict(load_file(tmp_path / "export" / "t3_cfg.safetensors"))
    found = t3.prepare_conditioning(stock.t3)[0]
    recorded = adapter.load_voice(voice_file)
    assert torch.equal(found, conditioning_in_training(adapter, recorded, examples))
    assert not torch.equal(found, t3.prepare_conditioning(recorded.t3)[0])
    assert "Tuned: `conds.pt`" in (tmp_path / "export" / "README.md").read_text()


def test_embeddings_that_upstream_kept_itself_are_made_again_and_a_learned_prompt_is_not(
    adapter: ChatterboxAdapter, voice_file: Path, tmp_path: Path
) -> None:
    voice = adapter.load_voice(voice_file)
    adapter.t3.prepare_conditioning(voice.t3)
    assert voice.t3.cond_prompt_speech_emb is not None
    voice.save(tmp_path / "stock.pt")
    assert condition_of(adapter.load_voice(tmp_path / "stock.pt")).cond_prompt_speech_emb is None
    learn(adapter, SoftVoicePrompt(NUM_TOKENS))
    tuned = adapter.tuned_voice(voice_file)
    save_voice(tuned, tmp_path / "tuned.pt")
    kept = condition_of(adapter.load_voice(tmp_path / "tuned.pt")).cond_prompt_speech_emb
    assert torch.equal(kept[0], table(adapter.voice.prompt))


@pytest.mark.slow
def test_the_voice_of_an_export_is_what_was_learned_and_a_recording_has_the_bases(
    learned: ChatterboxAdapter, voice_file: Path, tmp_path: Path
) -> None:
    learned.export(tmp_path / "export", voice_file)
    again = make_adapter(local_dir=str(tmp_path / "export"))
    own, tuned = again.load_voice(tmp_path / "export" / "conds.pt"), again.tuned_voice(voice_file)
    assert torch.equal(own.t3.speaker_emb, tuned.t3.speaker_emb)
    assert torch.equal(own.t3.cond_prompt_speech_emb, tuned.t3.cond_prompt_speech_emb)
    assert torch.equal(again.tuned_voice(tmp_path / "export" / "conds.pt").t3.speaker_emb, own.t3.speaker_emb)
    plain_voice = again.load_voice(voice_file)
    expected = plain_voice.t3.speaker_emb + table(learned.voice.speaker_offset)
    assert torch.equal(own.t3.speaker_emb, expected)
    assert plain_voice.t3.cond_prompt_speech_emb is None
    assert [again.is_left_out_of(voice) for voice in (own, tuned, plain_voice)] == [False, False, True]


@pytest.mark.slow
def test_a_judged_system_speaks_with_what_was_learned_and_in_other_voices_as_the_base(
    voice_file: Path, tmp_path: Path
) -> None:
    """The same recording prompts all, and the weights are the same: no clip may be taken for another system's."""
    adapter = make_adapter()
    with torch.no_grad():
        adapter.t3.speech_head.weight.mul_(10)  # else random weights say the same whatever they are conditioned on
        for layer in adapter.t3.tfmr.layers:
            layer.self_attn.q_proj.weight.mul_(10)
            layer.self_attn.v_proj.weight.mul_(10)
    adapter.export(tmp_path / "base", voice_file)
    for strategy in BOTH:
        learn(adapter, strategy)
    adapter.export(tmp_path / "export", voice_file)
    limit = 20
    kept, texts = KeptAudio(tmp_path / "kept"), [(0, "Some words.")]
    folders = {"base": tmp_path / "base", "tuned": tmp_path / "export"}
    said: dict[str, list[bytes]] = {}
    for system, folder in folders.items():
        speaker = Speaker(
            make_adapter(local_dir=str(folder), max_speech_tokens=limit), system, 0, kept, shows_progress=False
        )
        lines = [Lines(texts, voice_file), Lines(texts, voice_file, "other")]
        said[system] = [speaker.speak(each, 1)[0].wav for each in lines]
    assert said["base"][0] != said["tuned"][0]
    assert said["base"][1] == said["tuned"][1]
    again = make_adapter(local_dir=str(tmp_path / "export"), max_speech_tokens=limit)
    speaker = Speaker(again, "tuned", 0, KeptAudio(None), shows_progress=False)
    assert speaker.speak(Lines(texts, tmp_path / "export" / "conds.pt"), 1)[0].wav == said["tuned"][0]


def test_a_runs_base_and_its_base_voices_are_measured_without_what_is_learned(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batches = [adapter.collate(examples)]
    expected = float(RunResiduals(batches, None, 0).measure(adapter, "base")["residual"])
    for strategy in BOTH:
        learn(adapter, strategy)
    others = BaseVoicesResidual(("other",), len(examples), batches)  # type: ignore[arg-type]
    residuals = RunResiduals(batches, others, 0)
    base, tuned = (residuals.measure(adapter, system)["residual"] for system in ("base", "tuned"))
    assert base == expected != tuned
    assert residuals.base_voices["tuned"]["residual"] == expected


@pytest.mark.parametrize("strategy", [Full(), LastNLayers(1)], ids=lambda each: type(each).__name__)
def test_other_strategies_leave_what_was_learned_alone(learned: ChatterboxAdapter, strategy: Strategy) -> None:
    plans = {plan.name: plan for plan in strategy.apply(learned, 1e-3)}
    assert [plans[name].num_trained for name in ("voice.speaker_offset", "voice.prompt")] == [0, 0]
    assert not learned.voice.trains


@each_strategy
def test_nothing_of_the_frozen_layers_is_kept_while_what_enters_them_is_learned(
    adapter: ChatterboxAdapter, strategy: Strategy
) -> None:
    LastNLayers(1).apply(adapter, 1e-3)
    plain_one = adapter.trunk_fingerprint()
    strategy.apply(adapter, 1e-3)
    assert adapter.trunk_fingerprint() is None
    LastNLayers(1).apply(adapter, 1e-3)
    assert adapter.trunk_fingerprint() not in (None, plain_one)


def test_what_is_kept_of_frozen_layers_has_what_was_learned(
    learned: ChatterboxAdapter, examples: list[Example], tmp_path: Path
) -> None:
    LastNLayers(1).apply(learned, 1e-3)
    rows = placed(examples)
    expected = learned.residuals(learned.collate(rows), seed=0).values["residual"]
    keep(learned, rows, tmp_path)
    batch = learned.collate(rows)
    assert batch.kept is not None
    torch.testing.assert_close(learned.residuals(batch, seed=0).values["residual"], expected, rtol=1e-5, atol=1e-6)


def test_learning_goes_on_from_an_export(
    learned: ChatterboxAdapter, clips: list[EncodedUtterance], voice_file: Path, tmp_path: Path
) -> None:
    learned.export(tmp_path / "export", voice_file)
    again = make_adapter(local_dir=str(tmp_path / "export"))
    for strategy in (SpeakerOffset(), SoftVoicePrompt(NUM_TOKENS + 4)):
        strategy.apply(again, 1e-2)
        strategy.begin_with(again, (clip.features() for clip in clips))
    for name, tensor in learned.voice.state_dict().items():
        assert torch.equal(again.voice.state_dict()[name], tensor)


@pytest.mark.slow
def test_a_prompt_of_another_model_and_a_damaged_voice_are_refused(
    learned: ChatterboxAdapter, from_files: Callable[..., ChatterboxAdapter], files: Path, voice_file: Path
) -> None:
    tuned = learned.tuned_voice(voice_file)
    tuned.t3.cond_prompt_speech_emb = torch.zeros(1, 3, 8)
    save_voice(tuned, files / "conds.pt")
    with pytest.raises(UserError, match="a learned prompt of another model"):
        from_files()
    (files / "conds.pt").write_bytes(b"no voice")
    with pytest.raises(UserError, match="is not a saved Chatterbox voice"):
        from_files()


@each_strategy
def test_a_loss_that_does_not_reach_the_voice_is_refused(strategy: Strategy) -> None:
    with pytest.raises(UserError, match="which this objective does not reach: choose experiment=chatterbox_voice"):
        strategy.apply(make_adapter("chatterbox_s3gen"), 1e-3)


def test_a_small_offset_is_said_to_be_small(adapter: ChatterboxAdapter) -> None:
    strategy = SpeakerOffset()
    strategy.apply(adapter, 1e-5)
    assert "has a norm of 0 " in strategy.warnings(adapter)[0]
    learn(adapter, strategy)
    assert float(strategy.figures(adapter)["speaker_offset_norm"]) > 1
    assert strategy.warnings(adapter) == []


def test_the_offsets_gradient_is_that_of_all_speaker_embeddings(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(placed(examples))
    batch.speaker_embedding.requires_grad_(True)
    SpeakerOffset().apply(adapter, 1e-2)
    adapter.loss(batch, make_rng(0, "loss")).total.backward()
    assert batch.speaker_embedding.grad is not None
    expected = batch.speaker_embedding.grad.sum(dim=0, keepdim=True)
    assert float(expected.norm()) > 0
    torch.testing.assert_close(table(adapter.voice.speaker_offset).grad, expected)
