"""The one place beside scripts/ that knows Hydra and OmegaConf: from a composed configuration to plain objects.

Constructors take plain typed keywords; `_target_` joins them here. Configuration errors become one sentence.
"""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calm_ft.errors import UserError

ASSETS = Path(__file__).parent / "assets"
CONF = Path(__file__).parents[1] / "conf"
CONFIG_ERRORS = (HydraException, OmegaConfBaseException)


def register_resolvers() -> None:
    """`${package_asset:NAME}` is a path in the package's assets, `${feature_cache_dir:}` the user's cache folder."""
    OmegaConf.register_new_resolver("package_asset", lambda name: str(ASSETS / name), replace=True)
    cache = Path.home() / ".cache" / "calm_ft" / "features"
    OmegaConf.register_new_resolver("feature_cache_dir", lambda: str(cache), replace=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts and lists."""
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def build(section: Any, **extra: Any) -> Any:
    """Instantiate a section by its `_target_`, nested ones too.

    Raises UserError (from the constructor itself, or for a setting that it does not take).
    """
    try:
        return instantiate(section, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, TypeError):
            raise UserError(f"The configuration does not fit {section.get('_target_')}: {cause}.") from error
        raise


def config_error_sentence(error: Exception) -> str:
    """Hydra's own complaints (unknown config name, unknown key, bad override) in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "Configuration: " + " ".join(lines)[:600]


def run_arguments(config: DictConfig) -> dict[str, Any]:
    """The keyword arguments of `calm_ft.training.run.run_training` from a composed configuration.

    Raises UserError for settings that a constructor refuses. The adapter is built later, by its factory, since it
    may load hundreds of megabytes.
    """
    from calm_ft.training.run import DataSettings

    settings = plain(config)
    return {
        "output_dir": Path(settings["output_dir"]),
        "seed": settings["seed"],
        "ema_decay": settings["ema_decay"],
        "checkpoint_every_n_steps": settings["checkpoint"]["every_n_steps"],
        "adapter_factory": lambda: build(settings["adapter"]),
        "data": DataSettings(**settings["data"]),
        "strategy": build(settings["strategy"]),
        "optimizer": build(settings["optimizer"]),
        "trainer_settings": settings["trainer"],
        "logger_settings": build(settings["logger"]),
        "judgement": build(settings["evaluation"]),
        "config": settings,
    }


def compose_config(overrides: list[str]) -> DictConfig:
    """The program's configuration outside of Hydra's own entry point."""
    register_resolvers()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(config_name="train", overrides=overrides)
