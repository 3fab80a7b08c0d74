"""The command line as people type it, turned into what Hydra's grammar takes, and back into what they typed."""

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
    "adapter.conditioning_dropout",
    "adapter.eos_loss_weight",
    "adapter.head_batch_multiplier",
    "adapter.prompt.max_sec",
    "adapter.prompt.min_sec",
    "checkpoint.keep",
    "checkpoint.mode",
    "data.num_workers",
    "data.tail_sec",
    "early_stopping.min_delta",
    "evaluation.max_base_voices",
    "evaluation.max_time_share",
    "evaluation.num_seeds",
    "logger.log_model",
    "objective.time_sampler.mean",
    "objective.time_sampler.std",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.schedule.final_lr_fraction",
    "optimizer.weight_decay",
)
"""Settings that conf/ does not list: hardly anybody changes them, and their defaults stand in their classes."""
_MOVED = {"interpolant": "objective/interpolant"}
"""Groups of options by the names that they had before."""
_FREE = re.compile(rf"^\+{{0,2}}((?:trainer\.[\w.]+|{'|'.join(map(re.escape, UNLISTED))})=.*)", re.DOTALL)
_PATH_SETTING = re.compile(
    r"(?P<name>\+{0,2}(?:output_dir|adapter\.(?:model|local_dir)|data\.(?:path|cache_dir)|data\.sources\.[^.=]+\.path"
    r"|evaluation\.(?:heldout_path|base_voices)|strategy\.weights))=(?P<value>.+)",
    re.DOTALL,
)
"""Settings whose value is a path; their values are taken literally, whatever signs they hold."""


def tidy_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments in the form that Hydra reads; doing it twice changes nothing more.

    - `trainer.x=y` becomes `++trainer.x=y`: conf/trainer lists only some of the arguments that Lightning takes. So do
      the settings in `UNLISTED`.
    - `interpolant=linear` becomes `objective/interpolant=linear`.
    - `adapter._target_=` without `adapter=` chooses `adapter=custom`.
    - Paths are quoted where Hydra's grammar would refuse them or read something else.
    - -m moves to the front, for Hydra takes none between overrides.
    """
    is_sweep = asks_for_sweep(arguments)
    given = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    overrides = [quote_path(_moved(_FREE.sub(r"++\1", argument)), is_sweep) for argument in given]
    if override_of(overrides, "adapter._target_") and not override_of(overrides, "adapter"):
        overrides.append("adapter=custom")  # the settings of no other adapter fit a class from outside
    return ["-m", *overrides] if is_sweep else overrides


def asks_for_sweep(arguments: Sequence[str]) -> bool:
    return "-m" in arguments or "--multirun" in arguments


def quote_path(argument: str, is_sweep: bool = False) -> str:
    """`data.path=my voice` as `data.path='my voice'`, and `~` as the home folder; other settings stay as they are.

    A value stays as it is where Hydra reads it literally, where it is null, quoted or escaped already, and in a sweep
    where it is a list that Hydra can read; a list that it cannot read gets quotes around each of its values.
    """
    setting = _PATH_SETTING.fullmatch(argument)
    if setting is None or setting["value"] == "null" or _is_read_as_meant(argument, setting["value"], is_sweep):
        return argument
    whole = Path(setting["value"]).expanduser()
    is_list = is_sweep and "," in setting["value"] and not whole.exists()
    values = setting["value"].split(",") if is_list else [setting["value"]]
    return f"{setting['name']}={','.join(map(_quoted_path, values))}"


def as_typed(argument: str) -> str:
    """The opposite of `quote_path`: without quotes where `quote_path` would put them back."""
    setting = _PATH_SETTING.fullmatch(argument)
    if setting is None:
        return argument
    override = _parsed(argument)
    value = None if override is None else override._value
    typed = f"{setting['name']}={value.text}" if isinstance(value, QuotedString) else argument
    return typed if quote_path(typed) == argument else argument


def sweep_arguments(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """The tidy arguments with the one folder of their sweep, and that folder; None where they ask for no sweep.

    Hydra composes a sweep's own settings without the overrides of its jobs, so that it would not find the folder in
    output_dir.

    Raises UserError where each job would have the folder of another sweep.
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
    place = [f"output_dir={_quoted(folder)}", f"hydra.sweep.dir={_quoted(folder)}"]
    return [*kept, *place], Path(folder).expanduser()


def override_of(arguments: Sequence[str], key: str) -> str | None:
    """What the command line sets a plain key to; None where it does not."""
    found = [argument.partition("=")[2] for argument in arguments if re.match(rf"\+{{0,2}}{key}=", argument)]
    return found[-1] if found else None


def unlisted_settings(place: str) -> list[str]:
    """The names of the settings that a section takes beside those that conf/ lists."""
    return [key.rpartition(".")[2] for key in UNLISTED if key.rpartition(".")[0] == place]


def _moved(argument: str) -> str:
    plain = argument.lstrip("+")
    key, equals, value = plain.partition("=")
    return f"{_MOVED[key]}={value}" if equals and key in _MOVED else argument


def _is_read_as_meant(argument: str, value: str, is_sweep: bool) -> bool:
    override = _parsed(argument)
    if override is None:
        return False
    if override.is_sweep_override():
        return is_sweep
    is_escaped = isinstance(override.value(), str) and "\\" in value and os.sep == "/"  # else it parts folders
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
