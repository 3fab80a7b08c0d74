"""The TTS systems that there are, and what each can tell without loading a model.

A system is built in, or found by a Python entry point of the group `calm_ft.systems`, or registers itself in the module
that `adapter.package=NAME` names. Its folder holds a `System`.
"""

import importlib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.hub import check_repo_name, upload
from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line

ENTRY_POINTS = "calm_ft.systems"
DEFAULT = "pocket_tts"  # unknown model names go to this system, which raises the error
BUILT_IN = (
    "calm_ft.adapters.chatterbox.system",
    "calm_ft.adapters.chatterbox_multilingual.system",
    "calm_ft.adapters.chatterbox_turbo.system",
    "calm_ft.adapters.pocket_tts.system",
)


@dataclass(frozen=True)
class Miniature:
    """A model for rehearsals, which does not speak as a released one does.

    Args:
        warning: a clause for the warning, such as "this is a toy model that speaks noise".
        released: overrides that choose a released model in its place.
        dropped: overrides to drop when switching to a released model.
        own_recordings: a folder of recordings that the miniature is made for; they give no warning.
    """

    warning: str
    released: Sequence[str]
    dropped: Sequence[str] = ()
    own_recordings: Path | None = None


class System(ABC):
    """A TTS system: how its models and exports are recognised, loaded, moved and published.

    Its module must not import the upstream package at its top, for every command lists all systems.
    """

    name: str
    """As in `TTSAdapter.name`."""
    module: str
    """The Python package of its adapters. A configuration belongs to the system if `adapter._target_` is in it."""
    packages: Sequence[str] = ()
    """Upstream distributions whose versions run.json records."""

    @abstractmethod
    def is_export(self, folder: Path) -> bool:
        """Whether a folder holds an export, or a model with the same file layout. Must not load weights."""

    @abstractmethod
    def load(self, model: str) -> TTSAdapter:
        """An adapter to speak with, of a folder (`is_export`) or of a name (`takes`).

        Called by the evaluate and synthesize commands. Raises UserError where the model cannot be had.
        """

    def takes(self, name: str) -> bool:
        """Whether `adapter.model=` of this system takes a name that is no folder."""
        return False

    def default_voice(self, folder: Path) -> Path | None:
        """The voice that an export comes with, for `load_voice`; None where it has none."""
        return None

    def relocate(self, folder: Path) -> None:  # noqa: B027 - most exports hold no paths
        """Write an export's present place into its files after a move.

        Raises UserError where they cannot be written.
        """

    def publish(self, folder: Path, repo: str) -> str:
        """Upload an export to user/repo on the hub; returns what `adapter.model=` takes for it.

        Raises UserError without a login or a connection.
        """
        check_repo_name(repo)
        upload(folder, repo)
        return repo

    def miniature(self, settings: Mapping[str, Any]) -> Miniature | None:
        """What to say where the settings of an adapter name a rehearsal model; None where they do not.

        Called before the model is loaded. Agrees with `TTSAdapter.is_miniature`.
        """
        return None


_registered: dict[str, System] = {}


def register(system: System) -> None:
    """Make a system known. Called by the module that holds it; a system of the same name is replaced."""
    _registered[system.name] = system


def import_package(name: str) -> None:
    """Import the module that `adapter.package` names, which registers its system.

    Raises UserError where it cannot be imported.
    """
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"adapter.package={name} cannot be imported ({one_line(error)}): install it, or put its folder on "
            "PYTHONPATH."
        ) from error


def systems() -> list[System]:
    """All systems, those from outside first: so that they can override built-in ones."""
    known = {**_built_in(), **_installed(), **_registered}
    return list(reversed(known.values()))


def system(name: str) -> System:
    """A system by its name. Raises UserError where there is none."""
    for each in systems():
        if each.name == name:
            return each
    raise UserError(f"There is no TTS system {name!r}; there are: {', '.join(each.name for each in systems())}.")


def system_of_settings(settings: Mapping[str, Any]) -> System:
    """The system of an adapter's settings, by their `_target_`.

    Raises UserError where no system is registered for it.
    """
    target = str(settings.get("_target_"))
    for each in systems():
        if target.startswith(f"{each.module}."):
            return each
    raise UserError(
        f"adapter._target_={target} belongs to no known TTS system: name the module that registers its system as "
        f"adapter.package=NAME, or install a package with an entry point of the group {ENTRY_POINTS}."
    )


def system_of_export(folder: Path) -> System | None:
    """The system whose export a folder holds; None where it holds none."""
    return next((each for each in systems() if each.is_export(folder)), None)


def system_of_name(model: str) -> System:
    """The system that takes a model's name."""
    return next((each for each in systems() if each.takes(model)), system(DEFAULT))


def packages() -> list[str]:
    """The upstream distributions of all systems."""
    return sorted({package for each in systems() for package in each.packages})


def is_miniature(settings: Mapping[str, Any]) -> bool:
    """Whether the settings of an adapter name a rehearsal model."""
    return system_of_settings(settings).miniature(settings) is not None


def miniature_notice(settings: Mapping[str, Any], data_path: Path, command: Sequence[str]) -> str | None:
    """The warning for recordings on a rehearsal model, with the command for a released one.

    Args:
        command: the program and the overrides by which the run was started; those that fit a released model are kept.
    """
    found = system_of_settings(settings).miniature(settings)
    if found is None:
        return None
    if found.own_recordings is not None and data_path.absolute().is_relative_to(found.own_recordings):
        return None
    dropped = {"adapter", "adapter.model", "adapter.local_dir", "output_dir", "resume", *found.dropped}
    kept = [each for each in command if each.lstrip("+~").partition("=")[0] not in dropped]
    return f"WARNING: {found.warning}. For the released model: {shlex.join([*kept, *found.released])}"


@cache
def _built_in() -> dict[str, System]:
    found = [importlib.import_module(module).SYSTEM for module in BUILT_IN]
    return {each.name: each for each in found}


@cache
def _installed() -> dict[str, System]:
    found = {}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            loaded = entry.load()
        except Exception as error:  # whatever a package of somebody else raises
            raise UserError(
                f"The TTS system {entry.name} ({entry.value}) cannot be loaded ({one_line(error)}): mend or uninstall "
                "its package."
            ) from error
        each = loaded() if isinstance(loaded, type) else loaded
        found[each.name] = each
    return found
