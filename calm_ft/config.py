"""From a composed configuration to plain objects: where Hydra and OmegaConf end.

Constructors take plain typed keywords; `_target_` joins them here. Configuration errors become one sentence.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from calm_ft.errors import UserError
from calm_ft.sweeps.folder import Sweep

ASSETS = Path(__file__).parent / "assets"
INSTALLED_CONF = Path(__file__).parent / "conf"
CONF = INSTALLED_CONF if INSTALLED_CONF.is_dir() else Path(__file__).parents[1] / "conf"
"""conf/ lies beside the package in a checkout, and inside it once a wheel is installed (setup.py)."""
CONFIG_ERRORS = (HydraException, OmegaConfBaseException)


def register_resolvers() -> None:
    """`${package_asset:NAME}` is a path in the package's assets, `${feature_cache_dir:}` the user's cache folder."""
    OmegaConf.register_new_resolver("package_asset", lambda name: str(ASSETS / name), replace=True)
    # Other voices than the tuned one are the embedded model's own where that is tuned; for others none are known.
    OmegaConf.register_new_resolver("base_voices_of", lambda model: _for_nano(model, "judging_voices"), replace=True)
    OmegaConf.register_new_resolver("replay_voices_of", lambda model: _for_nano(model, "base_voices"), replace=True)
    cache = Path.home() / ".cache" / "calm_ft" / "features"
    OmegaConf.register_new_resolver("feature_cache_dir", lambda: str(cache), replace=True)


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


def config_error_sentence(error: Exception) -> str:
    """Hydra's own complaints (unknown config name, unknown key, bad override) in one line with what there is."""
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
        return _unknown_key_sentence(unknown.group(1))
    text = str(error).partition("Config search path")[0]
    return "Configuration: " + " ".join(text.split())[:600]


def _unknown_key_sentence(key: str) -> str:
    parts = key.split(".")
    try:
        node: Any = compose_config([])
        while parts and isinstance(node, DictConfig) and parts[0] in node:
            node = node._get_node(parts.pop(0))
        names = sorted(map(str, node)) if isinstance(node, DictConfig) and not node._is_interpolation() else []
    except CONFIG_ERRORS:
        names = []
    place = key.removesuffix(".".join(parts)).rstrip(".")
    known = f"; {place or 'the top level'} has: {', '.join(names)}" if names else ""
    return f"Configuration: there is no setting {key}{known}."


def tidy_arguments(arguments: list[str]) -> list[str]:
    """The command line as Hydra takes it: `trainer.x=y` and `+trainer.x=y` as `++trainer.x=y`, and -m first.

    `adapter._target_=` without `adapter=` chooses `adapter=custom`.

    conf/trainer names the commonest of Lightning's arguments; Lightning itself says which others there are. Hydra's
    parser takes no -m between overrides.
    """
    free = [re.sub(r"^\+{0,2}(?=trainer\.[\w.]+=)", "++", argument) for argument in arguments]
    if override_of(free, "adapter._target_") and not override_of(free, "adapter"):
        free.append("adapter=custom")  # no other adapter's settings fit a class from outside
    sweep = [argument for argument in free if argument in ("-m", "--multirun")]
    return [*sweep[:1], *(argument for argument in free if argument not in sweep)]


def sweep_arguments(arguments: list[str]) -> tuple[list[str], Path | None]:
    """The tidied command line with the one folder of its sweep, and that folder; None where it asks for no sweep.

    Hydra composes a sweep's own settings without the overrides of its jobs, so that it would not find the folder in
    output_dir.

    Raises UserError where each job would have another sweep's folder.
    """
    if "-m" not in arguments and "--multirun" not in arguments:
        return arguments, None
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
    place = [_quoted("output_dir", folder), _quoted("hydra.sweep.dir", folder)]
    return [*kept, *place], Path(folder).expanduser()


def _quoted(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def override_of(arguments: list[str], key: str) -> str | None:
    """What the command line sets a plain key to; None where it does not."""
    found = [argument.partition("=")[2] for argument in arguments if re.match(rf"\+{{0,2}}{key}=", argument)]
    return found[-1] if found else None


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
    """The present job's overrides, those of a sweep with the values of this job."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(each) for each in overrides]


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


def compose_config(overrides: list[str]) -> DictConfig:
    """The program's configuration outside of Hydra's own entry point."""
    register_resolvers()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(config_name="train", overrides=overrides)
