"""From a composed configuration to plain objects: where Hydra and OmegaConf end.

Constructors take plain typed keywords; `_target_` joins them here. Configuration errors become one sentence.
"""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from calm_ft.config.overrides import as_typed, override_of, unlisted_settings
from calm_ft.errors import UserError
from calm_ft.sweeps.folder import Sweep

PACKAGE = Path(__file__).parents[1]
ASSETS = PACKAGE / "assets"
INSTALLED_CONF = PACKAGE / "conf"
CONF = INSTALLED_CONF if INSTALLED_CONF.is_dir() else PACKAGE.parent / "conf"
"""conf/ lies beside the package in a checkout, and inside it once a wheel is installed (setup.py)."""
CONFIG_ERRORS = (HydraException, OmegaConfBaseException)


def register_resolvers() -> None:
    """`${package_asset:NAME}` is a path in the package's assets, `${feature_cache_dir:}` the user's cache folder."""
    OmegaConf.register_new_resolver("package_asset", lambda name: str(ASSETS / name), replace=True)
    # Other voices than the tuned one are the embedded model's own where that is tuned; for others none are known.
    OmegaConf.register_new_resolver("base_voices_of", lambda model: _for_nano(model, "judging_voices"), replace=True)
    OmegaConf.register_new_resolver("replay_voices_of", lambda model: _for_nano(model, "base_voices"), replace=True)
    OmegaConf.register_new_resolver("feature_cache_dir", lambda: str(feature_cache_dir()), replace=True)


def feature_cache_dir() -> Path:
    """A folder below the user's home, or the system's temporary folder for a user who has none.

    Services and containers often run without HOME, or with HOME=/, where nobody looks for a cache.
    """
    with suppress(RuntimeError):  # neither HOME nor an entry for the user
        home = Path.home()
        if home != Path(home.anchor):
            return home / ".cache" / "calm_ft" / "features"
    return Path(tempfile.gettempdir()) / f"calm_ft-{os.getuid() if hasattr(os, 'getuid') else 'cache'}" / "features"


def _for_nano(model: str | None, name: str) -> str | None:
    if model is None:
        return None
    from calm_ft.adapters import registry  # torch is imported late: --help answers at once

    is_nano = registry.system("pocket_tts").miniature({"model": model}) is not None
    return str(ASSETS / name) if is_nano else None


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts and lists.

    Raises UserError where a value is missing or refers to none.
    """
    try:
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(config_error_sentence(error)) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def build(section: Any, **extra: Any) -> Any:
    """Instantiate a section by its `_target_`, nested ones too.

    Raises UserError (from the constructor itself, or for a setting that it does not take); a constructor's other
    exceptions are raised as they are.
    """
    try:
        return instantiate(section, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        missing = re.search(r"No module named '([\w.]+)'", f"{error} {cause}")
        if missing:
            raise UserError(
                f"{section.get('_target_', 'The configuration')} needs the package {missing.group(1)}, which is not "
                "installed: run `make setup`, or install the extra of its name."
            ) from error
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(cause))
        if unknown:
            raise UserError(f"{_class_name(section)} has no setting {unknown.group(1)}: leave it out.") from error
        if isinstance(cause, TypeError) or cause is None or isinstance(cause, ImportError):
            reason = str(error if cause is None else cause).splitlines()[0]
            raise UserError(
                f"The configuration does not fit {section.get('_target_', 'its section')}: {reason}."
            ) from error
        raise cause from None


def build_adapter(section: Mapping[str, Any]) -> Any:
    """The adapter of a configuration; `package` names the module that registers its system, where it is not built in.

    Raises UserError as `build` does, and where no system is registered for the adapter.
    """
    check_system(section)
    return build({name: value for name, value in section.items() if name != "package"})


def check_system(section: Mapping[str, Any]) -> None:
    """Raises UserError where no system is registered for an adapter's section, once its `package` was imported."""
    from calm_ft.adapters import registry  # torch is imported late: --help answers at once

    if section.get("package") is not None:
        registry.import_package(section["package"])
    registry.system_of_settings(section)


def _class_name(section: Any) -> str:
    return str(section.get("_target_", "The configuration")).rpartition(".")[2]


def config_error_sentence(error: Exception, arguments: Sequence[str] = ()) -> str:
    """What Hydra complains of (an unknown option, an unknown setting, a bad override) in one line with what there is.

    Args:
        arguments: the command line, by which the options of all groups are known.
    """
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"Configuration: there is no {group}={name}; choose one of: {', '.join(sorted(error.options))}."
    if isinstance(error, OverrideParseException):
        return (
            f"Configuration: {error.override!r} cannot be read: write key=value, with quotes around a value that holds "
            "blanks, commas or braces."
        )
    unknown = re.search(r"Could not override '([\w./@-]+)'", str(error))
    if unknown:
        return _unknown_key_sentence(unknown.group(1), arguments)
    text = str(error).partition("Config search path")[0]
    return "Configuration: " + " ".join(text.split())[:600]


def _unknown_key_sentence(key: str, arguments: Sequence[str]) -> str:
    """Names what there is in the place of the key, with the options that the command line chooses."""
    try:
        config = _with_options_of(arguments)
    except CONFIG_ERRORS:
        config = compose_config([], return_hydra_config=True)
    options = config.hydra.runtime.choices
    parent, _, part = key.partition("/")
    if part:
        return (
            f"Configuration: {part}={override_of(arguments, key) or ''} does not apply, for {parent}={options[parent]} "
            f"has no {part}: leave it out, or choose another {parent}."
        )
    parts = key.split(".")
    node: Any = config
    while parts and isinstance(node, DictConfig) and parts[0] in node and parts[0] != "hydra":
        node = node._get_node(parts.pop(0))
    place = key.removesuffix(".".join(parts)).rstrip(".")
    is_section = isinstance(node, DictConfig) and not node._is_interpolation() and not node._is_none()
    names = sorted({*map(str, node), *unlisted_settings(place)} - {"hydra", "_target_"}) if is_section else []
    where = f"{place}={options[place]}" if place in options else place or "the top level"
    known = f"; {where} has: {', '.join(names)}" if names else ""
    return f"Configuration: there is no setting {key}{known}."


def _with_options_of(arguments: Sequence[str]) -> DictConfig:
    """The composition of the options of groups (experiment=..., strategy=...) alone, without other settings."""
    chosen = [each for each in arguments if re.match(r"\w+=[\w-]+$", each) and (CONF / each.partition("=")[0]).is_dir()]
    return compose_config(chosen, return_hydra_config=True)


def sweep_of(config: DictConfig) -> Sweep:
    """The sweep of a job's configuration."""
    return Sweep(Path(str(config.output_dir)).expanduser())


def job_number() -> int:
    """The present job's number in its sweep, counted from where the sweep was last begun."""
    return int(HydraConfig.get().job.num)


def job_config(config: DictConfig, run_dir: Path, resume: bool) -> DictConfig:
    """A sweep's configuration as that of one run; trackers group the jobs by the sweep's name."""
    own = config.copy()
    with open_dict(own):
        if "group" in own.logger and own.logger.group is None:
            own.logger.group = Path(str(config.output_dir)).name
        own.output_dir, own.resume = str(run_dir), resume
    return own


def is_sweep() -> bool:
    """Whether the present job is one of `-m`."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def job_overrides() -> list[str]:
    """The present job's overrides as a user would type them, those of a sweep with the values of this job."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [as_typed(str(each)) for each in overrides]


def experiment_from(config: DictConfig) -> Any:
    """The `calm_ft.training.experiment.Experiment` of a composed configuration.

    Raises UserError for settings that a constructor refuses. The adapter is built later, by its factory, since it
    may load hundreds of megabytes.
    """
    from calm_ft.training import settings as plain_settings
    from calm_ft.training.experiment import Experiment

    settings = plain(config)
    if not settings["output_dir"]:
        raise UserError("output_dir is empty: give the folder that the run is to make.")
    check_system(settings["adapter"])

    def typed(class_name: str, section: dict[str, Any]) -> Any:
        return build({"_target_": f"{plain_settings.__name__}.{class_name}", **section})

    return Experiment(
        run=plain_settings.RunSettings(
            output_dir=Path(settings["output_dir"]).expanduser(),
            seed=settings["seed"],
            ema_decay=settings["ema_decay"],
            resume=settings["resume"],
            voice=settings.get("voice"),
            compile=settings.get("compile", False),  # which runs of earlier versions have not
        ),
        data=typed("DataSettings", settings["data"]),
        checkpoint=typed("CheckpointSettings", settings["checkpoint"]),
        early_stopping=typed("EarlyStoppingSettings", settings["early_stopping"]),
        export=typed("ExportSettings", settings["export"]),
        adapter_factory=lambda: build_adapter(settings["adapter"]),
        strategy=build(settings["strategy"]),
        optimizer=build(settings["optimizer"]),
        trainer_settings=build(settings["trainer"]),
        logger_settings=build(settings["logger"]),
        evaluation=build(settings["evaluation"]),
        config=settings,
    )


def compose_config(overrides: Sequence[str], return_hydra_config: bool = False) -> DictConfig:
    """The configuration of `train` outside of Hydra's own entry point, from overrides in Hydra's grammar."""
    register_resolvers()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides), return_hydra_config=return_hydra_config)
