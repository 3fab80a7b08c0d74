"""A setting that cannot be used is one sentence: its whole key, the value as it was written, and what is allowed."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from calm_ft.errors import UserError
from calm_ft.settings import PositiveInteger, Settings, checked
from calm_ft.training.optimizers import AdamWFactory, ConstantSchedule, CosineSchedule, MuonFactory
from calm_ft.training.prepare import read_sources
from calm_ft.training.settings import (
    CheckpointSettings,
    DataSettings,
    EarlyStoppingSettings,
    ExportSettings,
    RunSettings,
)

SCHEDULE = ConstantSchedule(num_warmup_steps=2)
ADAMW = {"lr": 1e-3, "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.99, "schedule": SCHEDULE}
RECORDINGS = {"path": "voice", "cache_dir": "cache", "tail_sec": 0.1, "max_duration_sec": 30.0}
LIMITS = {"validation_fraction": 0.1, "max_frames_per_batch": 100, "max_batch_size": 2, "num_workers": 0}
VALID: dict[type[Settings], dict[str, Any]] = {
    RunSettings: {"output_dir": Path("run"), "seed": 0, "ema_decay": 0.9, "resume": False},
    CheckpointSettings: {"every_n_steps": 1, "keep": 1, "monitor": "val/residual", "mode": None},
    EarlyStoppingSettings: {"patience": None, "min_delta": 0.0},
    ExportSettings: {"which": "best", "ema": True},
    DataSettings: {**RECORDINGS, **LIMITS},
    CosineSchedule: {"num_warmup_steps": 0, "final_lr_fraction": 0},
    AdamWFactory: ADAMW,
    MuonFactory: {**ADAMW, "adamw_lr": 1e-3},
}
OLD = "data.sources.old"


def replay(**settings: Any) -> dict[str, Any]:
    return {"sources": {"old": settings}}


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        (RunSettings, {"seed": 0.5}, "seed=0.5 must be an integer."),
        (RunSettings, {"seed": True}, "seed=true must be an integer."),
        (RunSettings, {"seed": "lucky"}, "seed=lucky must be an integer."),
        (RunSettings, {"ema_decay": 1}, "ema_decay=1 must be a number of at least 0 and below 1."),
        (RunSettings, {"resume": "perhaps"}, "resume=perhaps must be true or false."),
        (RunSettings, {"resume": 1}, "resume=1 must be true or false."),
        (CheckpointSettings, {"keep": 0}, "checkpoint.keep=0 must be an integer of at least 1."),
        (CheckpointSettings, {"mode": "better"}, "checkpoint.mode=better must be one of min, max or null."),
        (EarlyStoppingSettings, {"patience": 0}, "early_stopping.patience=0 must be an integer of at least 1 or null."),
        (EarlyStoppingSettings, {"min_delta": None}, "early_stopping.min_delta=null must be a number of at least 0."),
        (ExportSettings, {"which": "first"}, "export.which=first must be one of best, last."),
        (DataSettings, {"path": None}, "data.path=null must be the path of a folder."),
        (DataSettings, {"path": ""}, "data.path= must be the path of a folder."),
        (DataSettings, {"max_batch_size": 0}, "data.max_batch_size=0 must be an integer of at least 1 or null."),
        (DataSettings, {"max_batch_size": True}, "data.max_batch_size=true must be an integer of at least 1 or null."),
        (DataSettings, {"max_batch_size": 2.0}, "data.max_batch_size=2.0 must be an integer of at least 1 or null."),
        (
            DataSettings,
            {"max_frames_per_batch": "autos"},
            "data.max_frames_per_batch=autos must be an integer of at least 1 or auto.",
        ),
        (
            DataSettings,
            {"max_frames_per_batch": 0},
            "data.max_frames_per_batch=0 must be an integer of at least 1 or auto.",
        ),
        (RunSettings, {"compile": "autos"}, "compile=autos must be true or false or auto."),
        (DataSettings, {"max_duration_sec": 0}, "data.max_duration_sec=0 must be a number above 0."),
        (DataSettings, {"tail_sec": math.nan}, "data.tail_sec=nan must be a number of at least 0."),
        (DataSettings, {"tail_sec": False}, "data.tail_sec=false must be a number of at least 0."),
        (DataSettings, {"rate": 1}, "There is no setting data.rate; data has: path, cache_dir, tail_sec"),
        (
            DataSettings,
            replay(path=None, weight=1),
            f"{OLD} has no recordings: other voices come with the embedded model alone.",
        ),
        (DataSettings, replay(path="x", weight=0), f"{OLD}.weight=0 must be a number above 0."),
        (DataSettings, replay(path="x"), f"{OLD}.weight is not set: give a number above 0."),
        (DataSettings, replay(path="x", weight=1, n=1), f"There is no setting {OLD}.n; {OLD} has: path, weight"),
        (DataSettings, {"sources": 3}, "data.sources=3 must be"),
        (DataSettings, {"sources": {"old": 3}}, f"{OLD}=3 must be settings named path, weight, format, speakers."),
        (CosineSchedule, {"num_warmup_steps": 1.5}, "optimizer.schedule.num_warmup_steps=1.5 must be an integer of"),
        (CosineSchedule, {"final_lr_fraction": 1.1}, "final_lr_fraction=1.1 must be a number of at least 0 and at mo"),
        (AdamWFactory, {"lr": math.inf}, "optimizer.lr=inf must be a number above 0."),
        (AdamWFactory, {"lr": "fast"}, "optimizer.lr=fast must be a number above 0."),
        (AdamWFactory, {"schedule": None}, "optimizer.schedule=null must be settings named num_warmup_steps."),
        (MuonFactory, {"adamw_lr": -1}, "optimizer.adamw_lr=-1 must be a number above 0."),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(
    kind: type[Settings], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        kind(**{**VALID[kind], **changes})
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", VALID)
def test_settings_keep_what_is_allowed_and_cannot_be_changed(kind: type[Settings]) -> None:
    settings = kind(**VALID[kind])
    for name, value in VALID[kind].items():
        assert getattr(settings, name) == value
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, value)


@pytest.mark.parametrize("kind", [kind for kind in VALID if kind is not EarlyStoppingSettings])
def test_each_required_setting_that_is_left_out_is_named(kind: type[Settings]) -> None:
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    assert required
    for name in required:
        with pytest.raises(UserError, match=rf"{name} is not set: give \w+"):
            kind(**{other: value for other, value in VALID[kind].items() if other != name})


def test_the_tuned_voice_is_the_first_source_at_weight_one() -> None:
    data = DataSettings(**VALID[DataSettings], **replay(path="others", weight=0.5, speakers="folder"))
    named = {name: (each.path, each.weight, each.speakers) for name, each in data.named_sources().items()}
    assert named == {"voice": ("voice", 1.0, "auto"), "old": ("others", 0.5, "folder")}
    assert next(iter(data.named_sources())) == "voice"


def test_clips_and_speakers_of_further_sources_have_names_of_their_own(recordings_dir: Path) -> None:
    settings = {**VALID[DataSettings], **replay(path=str(recordings_dir), weight=1.0), "path": str(recordings_dir)}
    voice, old = (source.recordings.utterances for source in read_sources(DataSettings(**settings)))
    assert [each.id for each in old] == [f"old:{each.id}" for each in voice]
    assert [each.speaker for each in old] == [f"old:{each.speaker}" for each in voice]
    assert [each.audio_path for each in old] == [each.audio_path for each in voice]


def test_a_single_value_is_checked_under_its_key() -> None:
    assert checked("trainer.max_steps", 5, PositiveInteger) == 5
    with pytest.raises(UserError, match=r"^trainer\.max_steps=null must be an integer of at least 1\.$"):
        checked("trainer.max_steps", None, PositiveInteger)
