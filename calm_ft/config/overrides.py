"""The command line as people type it, turned into what Hydra's grammar takes, and the inverse."""

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from calm_ft.errors import UserError

UNLISTED = (
    "adapter.anchor_rows",
    "adapter.anchor_weight",
    "adapter.attention_guide_weight",
    "adapter.conditioning_dropout",
    "adapter.eos_loss_weight",
    "adapter.final_period_dropout",
    "adapter.input_noise_std",
    "adapter.head_batch_multiplier",
    "adapter.prompt.max_sec",
    "adapter.prompt.min_sec",
    "adapter.prompt.own_beginning",
    "adapter.prompt.trim_max_sec",
    "checkpoint.keep",
    "checkpoint.mode",
    "data.num_prompt_draws",
    "data.num_workers",
    "data.prepare",
    "data.tail_sec",
    "early_stopping.min_delta",
    "evaluation.cfg_coef",
    "evaluation.max_base_voices",
    "evaluation.max_time_share",
    "evaluation.num_seeds",
    "evaluation.num_steps",
    "evaluation.temperature",
    "export.dtype",
    "export.voice",
    "logger.log_model",
    "objective.time_sampler.mean",
    "objective.time_sampler.std",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.schedule.final_lr_fraction",
    "optimizer.weight_decay",
    "voice",
)
"""Settings that conf/ does not list: hardly anybody changes them, and their defaults stand in their classes."""
_RENAMED_GROUPS = {"interpolant": "objective/interpolant"}
"""Earlier name of a group of options -> its name now."""
_NEEDS_PLUS_PLUS = re.compile(
    rf"^\+{{0,2}}((?:(?:trainer|teacher)\.[\w.]+|{'|'.join(map(re.escape, UNLISTED))})=.*)", re.DOTALL
)
_PATH_SETTING = re.compile(
    r"(?P<name>\+{0,2}(?:output_dir|voice|adapter\.(?:model|local_dir|student)|data\.(?:path|cache_dir)|data\.sources\.[^.=]+\.path"
    r"|export\.voice|evaluation\.(?:heldout_path|base_voices)|strategy\.weights))=(?P<value>.+)",
    re.DOTALL,
)
"""Settings whose value is a path; their values are taken literally, whatever characters they contain."""


def tidy_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments in the form that Hydra reads; idempotent.

    - `trainer.x=y` becomes `++trainer.x=y`: conf/trainer lists only some of the arguments that Lightning takes. The
      settings in `UNLISTED` get `++` too, and `teacher.x=y`, which is a setting of another run.
    - `interpolant=linear` becomes `objective/interpolant=linear`.
    - `adapter._target_=` without `adapter=` chooses `adapter=custom`.
    - Paths are quoted where Hydra's grammar would refuse them or read something else.
    - -m moves to the front, for Hydra does not accept it between overrides.
    """
    is_sweep = asks_for_sweep(arguments)
    given = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    overrides = [quote_path(_renamed_group(_NEEDS_PLUS_PLUS.sub(r"++\1", argument)), is_sweep) for argument in given]
    if override_of(overrides, "adapter._target_") and not override_of(overrides, "adapter"):
        overrides.append("adapter=custom")  # only adapter=custom accepts an external class
    return ["-m", *overrides] if is_sweep else overrides


def asks_for_sweep(arguments: Sequence[str]) -> bool:
    """Whether -m is among the arguments."""
    return "-m" in arguments or "--multirun" in arguments


def quote_path(argument: str, is_sweep: bool = False) -> str:
    """`data.path=my voice` as `data.path='my voice'`, and `~` as the home folder; other settings stay as they are.

    Unchanged are null, what is quoted or escaped already, and what Hydra reads literally. In a sweep a list that Hydra
    can parse is unchanged too; of any other list, each value is quoted.
    """
    setting = _PATH_SETTING.fullmatch(argument)
    if setting is None or setting["value"] == "null" or _is_read_as_meant(argument, setting["value"], is_sweep):
        return argument
    whole = Path(setting["value"]).expanduser()
    is_list = is_sweep and "," in setting["value"] and not whole.exists()
    values = setting["value"].split(",") if is_list else [setting["value"]]
    return f"{setting['name']}={','.join(map(_quoted_path, values))}"


def as_typed(argument: str) -> str:
    """The opposite of `quote_path`: removes the quotes that `quote_path` added."""
    setting = _PATH_SETTING.fullmatch(argument)
    if setting is None:
        return argument
    override = _parsed(argument)
    value = None if override is None else override._value
    typed = f"{setting['name']}={value.text}" if isinstance(value, QuotedString) else argument
    return typed if quote_path(typed) == argument else argument


def sweep_arguments(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """(arguments with the folder of their sweep set, that folder); the folder is None where they ask for no sweep.

    Hydra does not see the jobs' output_dir when it composes the sweep itself, so the folder is passed twice.

    Raises UserError where output_dir does not name one folder: a list, nothing, or an interpolation.
    """
    if not asks_for_sweep(arguments):
        return list(arguments), None
    given = [argument for argument in arguments if re.match(r"\+{0,2}output_dir=", argument)]
    kept = [argument for argument in arguments if argument not in given]
    folder = f"runs/sweep-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    if given:
        override = OverridesParser.create().parse_override(given[-1])
        folder = "" if override.is_sweep_override() else str(override.value() or "")
    if not folder or "${" in folder:
        raise UserError(
            f"{given[-1]} cannot be the folder of a sweep: give one name; its jobs' folders have -0, -1, ... behind it."
        )
    folder = folder.rstrip("/")
    place = [quote_path(f"output_dir={folder}"), f"hydra.sweep.dir={_quoted(folder)}"]
    return [*kept, *place], Path(folder).expanduser()


def override_of(arguments: Sequence[str], key: str) -> str | None:
    """What the command line sets a plain key to; None where it does not."""
    found = [argument.partition("=")[2] for argument in arguments if re.match(rf"\+{{0,2}}{key}=", argument)]
    return found[-1] if found else None


def unlisted_settings(place: str) -> list[str]:
    """The names of the settings that a section takes beside those that conf/ lists."""
    return [key.rpartition(".")[2] for key in UNLISTED if key.rpartition(".")[0] == place]


def _renamed_group(argument: str) -> str:
    plain = argument.lstrip("+")
    key, equals, value = plain.partition("=")
    return f"{_RENAMED_GROUPS[key]}={value}" if equals and key in _RENAMED_GROUPS else argument


def _is_read_as_meant(argument: str, value: str, is_sweep: bool) -> bool:
    override = _parsed(argument)
    if override is None:
        return False
    if override.is_sweep_override():
        return is_sweep
    is_escaped = (
        isinstance(override.value(), str) and "\\" in value and os.sep == "/"
    )  # on Windows a backslash separates folders
    return isinstance(override._value, QuotedString) or override.value() == value or is_escaped


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _quoted_path(path: str) -> str:
    """In quotes, with a leading `~` or `~user` expanded; other paths are kept letter by letter, as hf://user/repo."""
    return _quoted(str(Path(path).expanduser()) if path.startswith("~") else path)


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()
