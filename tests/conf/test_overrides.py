"""Paths as people type them, from the command line to the settings of a run and back to a line for the shell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from calm_ft.config import compose_config, feature_cache_dir, plain
from calm_ft.config.overrides import as_typed, quote_path, sweep_arguments, tidy_arguments
from calm_ft.data.sources.hub.sets import HubName
from calm_ft.errors import UserError

ROOT = Path(__file__).parents[2]
FOLDERS = [
    "plain/folder-1_a.b",
    "my voice",
    "Jürgens Stimme",
    "我的声音",
    'it\'s "mine"',
    "[a] {b} (c)",
    "a=b",
    "#1 & more; $HOME | <x>",
    "one,two",
    "ends\\",
    "a\\ b'\\'",
    "'half",
    "007",
    "true",
    "choice(a,b)",
    "100% ~tilde~ *?!",
    " blanks around ",
]


def settings_of(*arguments: str) -> dict:
    return plain(compose_config(tidy_arguments(arguments)))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_real_folder_is_found_whatever_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "marker").touch()
    settings = settings_of(
        f"data.path={name}",
        f"data.cache_dir={tmp_path / name}",
        f"output_dir=./{name}",
        f"adapter.local_dir={name}",
        f"adapter.model={tmp_path / name}",
        f"evaluation.heldout_path={name}",
        f"+data.sources.old.path={name}",
        "+data.sources.old.weight=1",
    )
    data, adapter = settings["data"], settings["adapter"]
    found = [
        *(data["path"], data["cache_dir"], data["sources"]["old"]["path"], settings["output_dir"]),
        *(adapter["local_dir"], adapter["model"], settings["evaluation"]["heldout_path"]),
    ]
    assert all((Path(each) / "marker").is_file() for each in found), found


@pytest.mark.parametrize("name", [name for name in FOLDERS if "\\ " not in name])
def test_a_name_without_a_folder_before_it_is_read_literally_and_shown_as_typed(name: str) -> None:
    quoted = quote_path(f"data.path={name}")
    assert OverridesParser.create().parse_override(quoted).value() == name
    assert quote_path(quoted) == quoted
    assert as_typed(quoted) == f"data.path={name}"


@pytest.mark.parametrize("part", ["", "@main", "/en/train", "/train[:100]", "@refs/convert/parquet/train[:5]"])
def test_a_set_of_the_hub_is_named_as_everywhere(part: str) -> None:
    given = settings_of(f"data.path=hf://datasets/anna/voice{part}")["data"]["path"]
    assert HubName.parse(Path(given)) == HubName.parse(Path(f"datasets:anna/voice{part}"))


def test_the_home_folder_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/Zoë")
    assert settings_of("data.path=~/my voice")["data"]["path"] == "/home/Zoë/my voice"
    assert settings_of("evaluation.heldout_path=~")["evaluation"]["heldout_path"] == "/home/Zoë"


@pytest.mark.parametrize(
    "argument",
    [
        "data.path='my voice'",
        'data.path="a,b"',
        "data.path=null",
        "data.path=${oc.env:PWD}/voice",
        "data.path=my\\ voice",
        "seed=a b",
        "+trainer.callbacks=[{a:b}]",
        "data.sources={old:{path:x,weight:1}}",
        "data.pathway=a b",
        "--help",
    ],
)
def test_what_is_quoted_escaped_or_no_path_stays_as_it_is(argument: str) -> None:
    assert quote_path(argument) == as_typed(argument) == argument


def test_lists_of_a_sweep_stay_lists_and_those_that_hydra_cannot_read_are_quoted_one_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "ä,b"
    folder.mkdir()
    assert tidy_arguments(["data.path=a,b", "-m"]) == ["-m", "data.path=a,b"]
    assert tidy_arguments(["-m", "data.path=Jürgen,Zoë"]) == ["-m", "data.path='Jürgen','Zoë'"]
    assert tidy_arguments(["-m", f"data.path={folder}"]) == ["-m", f"data.path='{folder}'"]
    assert tidy_arguments(["data.path=a,b"]) == ["data.path='a,b'"]


def test_the_folder_of_a_sweep_may_have_any_name_but_is_one() -> None:
    arguments, folder = sweep_arguments(tidy_arguments(["-m", "output_dir=Größe [1]"]))
    assert folder == Path("Größe [1]")
    assert arguments == ["-m", "output_dir='Größe [1]'", "hydra.sweep.dir='Größe [1]'"]
    arguments, _ = sweep_arguments(["-m", "output_dir=runs/s"])
    assert arguments == ["-m", "output_dir=runs/s", "hydra.sweep.dir='runs/s'"]
    with pytest.raises(UserError, match="cannot be the folder of a sweep"):
        sweep_arguments(tidy_arguments(["-m", "output_dir=a,b"]))


@pytest.mark.parametrize("home", ["", "/"])
def test_without_a_home_the_cache_goes_to_the_temporary_folder(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", home)
    assert tmp_path in feature_cache_dir().parents
    assert settings_of()["data"]["cache_dir"] == str(feature_cache_dir())
    monkeypatch.setenv("HOME", "/home/me")
    assert settings_of()["data"]["cache_dir"] == "/home/me/.cache/calm_ft/features"


@pytest.mark.slow
def test_an_ascii_console_shows_any_name_and_ends_no_command(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "calm_ft", "compare", "Jürgen", "--output", "x.html"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: J\\xfcrgen ")
