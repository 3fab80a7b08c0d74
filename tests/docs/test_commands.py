"""Every command that a page shows is one that there is: its settings compose, its flags exist, its target is there."""

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

from calm_ft.commands import COMMANDS
from calm_ft.config import CONFIG_ERRORS, compose_config, experiment_from
from calm_ft.config.overrides import sweep_arguments, tidy_arguments
from calm_ft.errors import UserError
from tests.docs.pages import GUIDES, README, ROOT, Command, blocks, commands

ALL = [command for page in GUIDES for command in commands(page)]


class Parsed(Exception):  # noqa: N818 - what a parser found, before anything is done with it
    """The arguments were accepted."""


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.id)
def test_a_command_of_the_pages_is_accepted(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = command.words
    program, arguments = words[0], words[1:]
    script = re.fullmatch(r"scripts/(\w+)\.py", arguments[0]) if arguments else None
    if program == "python" and script:
        _check_own(script[1], arguments[1:], monkeypatch)
    elif program == "python" and arguments[0] == "-m":
        _check_flags(_module_with_main(arguments[1]), arguments[2:], monkeypatch)
    elif program == "python" and arguments[0] == "-c":
        compile(arguments[1], command.id, "exec")
    elif program == "make":
        targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif program == "pocket-tts":
        _check_stock(arguments)
    elif program == "hf":
        hf = shutil.which("hf", path=str(Path(sys.executable).parent))
        assert hf is not None
        assert subprocess.run([hf, *arguments, "--help"], capture_output=True, check=False).returncode == 0
    else:
        pytest.fail(f"{command.id}: this test does not know how to check {program}")


def test_the_readme_shows_the_two_commands_and_six_for_ones_own_voice() -> None:
    shown = [command.words[:2] for command in commands(README)]
    assert shown[:2] == [["make", "demo"], ["make", "test"]]
    assert [words[0] if words[0] == "hf" else words[1] for words in shown[2:8]] == [
        "hf",
        "scripts/prepare.py",
        "scripts/train.py",
        "scripts/evaluate.py",
        "scripts/compare.py",
        "scripts/synthesize.py",
    ]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_other_languages_can_be_read(page: Path) -> None:
    for content in blocks(page, "python"):
        compile(content, page.name, "exec")
    for content in blocks(page, "toml"):
        for group in tomllib.loads(content)["project"]["entry-points"].values():
            for target in group.values():
                module, _, name = target.partition(":")
                assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("train", ["data.pathh=x"]),
        ("train", ["experiment=nothing"]),
        ("train", ["-m", "strategy=head_only,nothing"]),
        ("train", ["checkpoint.every_n_steps=0"]),
        ("evaluate", ["runs/mine", "--num-sentence"]),
        ("synthesize", ["runs/mine", "--text", "Hello."]),
    ],
)
def test_a_wrong_command_would_be_noticed(script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((SystemExit, UserError, *CONFIG_ERRORS)):
        _check_own(script, arguments, monkeypatch)


def _check_own(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in COMMANDS
    if name != "train":
        _check_flags(importlib.import_module(f"calm_ft.{name}"), arguments, monkeypatch)
        return
    tidy, _ = sweep_arguments(tidy_arguments(arguments))
    for overrides in _jobs([each for each in tidy if each != "-m"]):
        experiment_from(compose_config(overrides))


def _jobs(overrides: Sequence[str]) -> list[list[str]]:
    """Overrides with the first and with the last of the values that a sweep gives to each setting."""
    jobs: list[list[str]] = [[], []]
    for parsed in OverridesParser.create().parse_overrides(list(overrides)):
        text = str(parsed.input_line)
        if not parsed.is_sweep_override():
            ends = [text, text]
        else:
            key = text.partition("=")[0]
            ends = [f"{key}={value}" for value in _ends(parsed.value())]
        if not text.startswith("hydra.sweep."):  # compose knows no folders of sweeps
            jobs = [[*job, end] for job, end in zip(jobs, ends, strict=True)]
    return jobs


def _ends(sweep: Any) -> tuple[Any, Any]:
    if isinstance(sweep, ChoiceSweep):
        return sweep.list[0], sweep.list[-1]
    if isinstance(sweep, IntervalSweep):
        return sweep.start, sweep.end
    assert isinstance(sweep, RangeSweep)
    return sweep.start, sweep.stop


def _check_flags(module: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the module's main function up to where its arguments are parsed."""
    parse = argparse.ArgumentParser.parse_args

    def stop_after(self: argparse.ArgumentParser, *given: Any, **named: Any) -> None:
        parse(self, *given, **named)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop_after)
    monkeypatch.setattr(sys, "argv", [str(module.__name__), *arguments])
    with pytest.raises(Parsed):
        module.main()


def _module_with_main(name: str) -> Any:
    module = importlib.import_module(name)
    return module if hasattr(module, "main") else importlib.import_module(f"{name}.__main__")


def _check_stock(arguments: list[str]) -> None:
    from pocket_tts.main import cli_app

    group = typer.main.get_command(cli_app)
    known = {flag for each in group.commands[arguments[0]].params for flag in each.opts}  # type: ignore[attr-defined]
    assert {each for each in arguments if each.startswith("--")} <= known
