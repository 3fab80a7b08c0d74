"""Depth distillation: a student that equals its teacher has no loss, and learns what guidance would have said."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pocket_tts.data.audio_utils import end_on_pause
from safetensors.torch import load_file, save_file

from calm_ft.adapters.playing import Playing
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.distillation import DistilledPocketTTSAdapter, chosen_layers
from calm_ft.adapters.pocket_tts.generation import Chunk, GenerationSettings, generate_latents
from calm_ft.adapters.pocket_tts.rows import Row, collate_rows
from calm_ft.adapters.pocket_tts.synthesis import voice_from_audio
from calm_ft.data.audio import load_clip
from calm_ft.data.dataset import Example
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full, HeadOnly
from calm_ft.flow.heads import bind_condition
from calm_ft.flow.sampling import sample_flow_map
from calm_ft.randomness import make_rng
from tests.adapters import contract
from tests.conftest import NANO, default_objective


@pytest.fixture
def teacher_folder(tmp_path: Path, speech_file: Path) -> Path:
    """The embedded model as an export that says that it has a null branch."""
    adapter = PocketTTSAdapter(str(NANO), default_objective(), conditioning_dropout=0.1)
    adapter.export(tmp_path / "teacher", speech_file)
    return tmp_path / "teacher"


def student(model: Path, **settings: Any) -> DistilledPocketTTSAdapter:
    return DistilledPocketTTSAdapter(model=str(model), objective=default_objective(), **settings)


def batch_for(adapter: PocketTTSAdapter):
    rows = []
    for place, (num_frames, num_prompt_frames) in enumerate([(14, 9), (6, 12)]):
        rng = make_rng(place, "distillation")
        latents, prompt = (torch.randn(n, adapter.flow_lm.ldim, generator=rng) for n in (num_frames, num_prompt_frames))
        rows.append(Row(str(place), latents, adapter.text.tokens("The dog ran."), prompt, place))
    return collate_rows(rows, adapter.tts.config.flow_lm.lookup_table.n_bins)


def loss_of(adapter: DistilledPocketTTSAdapter) -> float:
    return float(adapter.loss(batch_for(adapter), make_rng(0, "loss")).total.detach())


def test_a_student_of_equal_depth_and_weights_has_no_loss_without_guidance(teacher_folder: Path) -> None:
    equal = student(teacher_folder, num_layers=6, cfg_coef=1.0)
    assert loss_of(equal) == 0
    assert loss_of(student(teacher_folder, num_layers=6, cfg_coef=2.0)) > 1e-3
    assert loss_of(student(teacher_folder, num_layers=3, cfg_coef=1.0)) > 1e-3


def test_student_and_teacher_hear_the_same_noise(teacher_folder: Path) -> None:
    assert loss_of(student(teacher_folder, num_layers=6, cfg_coef=1.0, input_noise_std=0.4)) == 0
    shallow = [loss_of(student(teacher_folder, num_layers=3, input_noise_std=std)) for std in (0.0, 0.4)]
    assert shallow[0] != shallow[1]


def test_the_target_is_what_guided_generation_feeds_its_heads(teacher_folder: Path, speech_file: Path) -> None:
    """Latents that the teacher generated with guidance come again from the target, through the same head."""
    adapter = student(teacher_folder, num_layers=3, cfg_coef=2.0)
    teacher = PocketTTSAdapter(str(teacher_folder), default_objective())
    tokens = teacher.text.tokens("The dog ran.")
    samples = load_clip(Utterance("voice", speech_file, ""), teacher.sample_rate_hz, 0.2).samples
    voice = voice_from_audio(teacher.tts, samples)
    heard = end_on_pause(samples[None], teacher.sample_rate_hz)[None]
    with torch.no_grad():
        prompt = teacher.mimi.encode_to_latent(heard)[0]
    silent = torch.zeros(1, teacher.flow_lm.ldim)
    settings = GenerationSettings(temperature=0.0, num_steps=1, eos_threshold=1e9, cfg_coef=2.0)
    (said,) = generate_latents(teacher.tts, voice, [Chunk(tokens, 1, lambda: silent)], settings)
    raw = said.latents * teacher.flow_lm.emb_std + teacher.flow_lm.emb_mean
    batch = collate_rows([Row("0", raw, tokens, prompt, 0)], teacher.tts.config.flow_lm.lookup_table.n_bins)
    z = adapter.guided(batch)[0, : len(raw)]
    zero, one = torch.zeros(len(raw), 1), torch.ones(len(raw), 1)
    with torch.no_grad():
        again = teacher.flow_lm.flow_net(z, zero, one, torch.zeros_like(raw))
    torch.testing.assert_close(again, said.latents, rtol=0, atol=1e-5)


def test_training_brings_the_student_nearer_and_leaves_heads_and_teacher_alone(teacher_folder: Path) -> None:
    adapter = student(teacher_folder, num_layers=3)
    Full().apply(adapter, 1e-3)
    trained = {name for name, p in adapter.named_parameters() if p.requires_grad}
    assert not [name for name in trained if name.startswith(("flow_lm.flow_net", "flow_lm.out_eos", "mimi"))]
    assert not [name for name, _ in adapter.named_parameters() if "teacher" in name]
    before = copy.deepcopy(adapter.teacher.state_dict())
    batch = batch_for(adapter)
    losses = contract.fit_batch(adapter, batch, num_steps=30, lr=1e-3)
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in adapter.teacher.state_dict().items())
    assert float(adapter.residuals(batch, 0).values["residual"].mean()) < losses[0]


@pytest.mark.slow
def test_the_students_flow_head_learns_to_do_in_one_step_what_its_teachers_does_in_eight(teacher_folder: Path) -> None:
    adapter = student(teacher_folder, num_layers=6, trajectory_steps=8)
    HeadOnly().apply(adapter, 1e-3)
    assert {name.split(".")[1] for name, p in adapter.named_parameters() if p.requires_grad} == {"flow_net"}
    batch = batch_for(adapter)
    guided = adapter.guided(batch)[batch.frame_mask]
    x0 = adapter.tts.temp**0.5 * torch.randn(len(guided), adapter.flow_lm.ldim, generator=make_rng(0, "x0"))

    def gap() -> float:
        """How far one step of the student is from eight of its guided teacher, from the same noise."""
        with torch.no_grad():
            z = adapter.hidden(batch).z[batch.frame_mask]
            said = sample_flow_map(bind_condition(adapter.flow_lm.flow_net, z), x0, 1)
            wanted = sample_flow_map(bind_condition(adapter.teacher.flow_net, guided), x0, 8)
        return float((said - wanted).square().mean())

    before, residual = gap(), adapter.residuals(batch, 0).values["residual"].mean()
    contract.fit_batch(adapter, batch, num_steps=60, lr=1e-3)
    assert gap() < 0.7 * before
    assert adapter.residuals(batch, 0).values["residual"].mean() < residual


def test_the_student_is_exported_with_its_own_depth_and_no_null_branch(
    teacher_folder: Path, speech_file: Path, tmp_path: Path
) -> None:
    adapter = student(teacher_folder, num_layers=2)
    adapter.export(tmp_path / "student", speech_file)
    exported = PocketTTSAdapter(str(tmp_path / "student"), default_objective())
    assert exported.tts.config.flow_lm.transformer.num_layers == len(exported.flow_lm.transformer.layers) == 2
    assert not exported.has_null_branch
    for name, tensor in exported.tts.state_dict().items():
        assert torch.equal(tensor, adapter.tts.state_dict()[name]), name
    with pytest.raises(UserError, match="null branch"):
        exported.play_as(Playing(cfg_coef=2.0))
    assert len(exported.synthesize(["The dog ran."], exported.load_voice(speech_file), 0)[0].audio)


def test_an_earlier_student_brings_its_backbone_and_takes_the_tuned_teachers_heads(
    teacher_folder: Path, speech_file: Path, tmp_path: Path
) -> None:
    earlier = student(teacher_folder, num_layers=2)
    earlier.export(tmp_path / "earlier", speech_file)
    tuned = PocketTTSAdapter(str(teacher_folder), default_objective(), conditioning_dropout=0.1)
    with torch.no_grad():
        for parameter in (*tuned.flow_lm.flow_net.parameters(), *tuned.flow_lm.out_eos.parameters()):
            parameter.mul_(1.01)
    tuned.export(tmp_path / "tuned", speech_file)
    adapter = student(tmp_path / "tuned", student=str(tmp_path / "earlier"))
    for name, tensor in adapter.flow_lm.state_dict().items():
        source = tuned if name.startswith(("flow_net", "out_eos")) else earlier
        assert torch.equal(tensor, source.flow_lm.state_dict()[name]), name
    assert adapter.tts.config.flow_lm.transformer.num_layers == 2
    assert loss_of(adapter) == pytest.approx(loss_of(student(tmp_path / "tuned", num_layers=2)))


def test_an_earlier_student_that_is_stored_in_16_bits_fits_its_teacher(
    teacher_folder: Path, speech_file: Path, tmp_path: Path
) -> None:
    student(teacher_folder, num_layers=2).export(tmp_path / "earlier", speech_file)
    weights = tmp_path / "earlier" / "model.safetensors"
    state = load_file(weights)
    save_file({name: tensor.bfloat16() for name, tensor in state.items()}, weights)
    adapter = student(teacher_folder, student=str(tmp_path / "earlier"))
    assert torch.equal(adapter.flow_lm.emb_std, adapter.teacher.emb_std)
    assert not torch.equal(adapter.flow_lm.emb_std, state["flow_lm.emb_std"].bfloat16().float())
    assert float(loss_of(adapter)) == pytest.approx(float(loss_of(student(teacher_folder, num_layers=2))), rel=0.05)


@pytest.mark.parametrize("name", ["anchor_weight", "attention_guide_weight"])
def test_terms_that_distillation_has_not_are_refused(teacher_folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"adapter.{name}=1 has no place in distillation"):
        student(teacher_folder, num_layers=3, **{name: 1})


def test_a_student_that_does_not_fit_is_refused(teacher_folder: Path, speech_file: Path, tmp_path: Path) -> None:
    for settings in ({"num_layers": 3}, {"layers": "first"}):
        with pytest.raises(UserError, match=f"adapter.{next(iter(settings))} is that of .* leave one of them out"):
            student(teacher_folder, student=str(teacher_folder), **settings)
    other = PocketTTSAdapter(str(teacher_folder), default_objective())
    with torch.no_grad():
        other.flow_lm.emb_std.mul_(2)
    other.export(tmp_path / "other", speech_file)
    with pytest.raises(UserError, match="differ in the statistics of the latents"):
        student(teacher_folder, student=str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("depth", "num_layers", "layers", "expected"),
    [
        (24, 6, "spaced", [0, 5, 9, 14, 18, 23]),
        (6, 3, "spaced", [0, 2, 5]),
        (6, 3, "first", [0, 1, 2]),
        (6, 6, "spaced", [0, 1, 2, 3, 4, 5]),
        (6, 1, "spaced", [0]),
    ],
)
def test_the_layers_are_those_asked_for(depth: int, num_layers: int, layers, expected: list[int]) -> None:
    assert chosen_layers(depth, num_layers, layers) == expected


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_layers": 7}, "at most the teacher's 6"),
        ({"num_layers": 0}, "at least 1"),
        ({"num_layers": 2, "layers": "last"}, "spaced or first"),
        ({"conditioning_dropout": 0.2}, "no place in distillation"),
    ],
)
def test_what_does_not_fit_is_refused(teacher_folder: Path, settings: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        student(teacher_folder, **settings)


def test_a_teacher_without_a_null_branch_is_refused(teacher_folder: Path) -> None:
    card = teacher_folder / "README.md"
    card.write_text(card.read_text().replace("null_branch: true", "null_branch: false"))
    with pytest.raises(UserError, match="takes a teacher with a null branch"):
        student(teacher_folder)
    assert student(teacher_folder, cfg_coef=1.0).cfg_coef == 1.0


def test_a_batch_as_training_draws_it_has_a_loss(teacher_folder: Path, make_example) -> None:
    adapter = student(teacher_folder)
    example: Example = make_example(adapter, "row", 20, "The dog ran.", num_prompt_frames=30)
    assert float(adapter.loss(adapter.collate([example]), make_rng(0, "loss")).total.detach()) > 0
