"""Which speech recogniser judges a model, by what people give: auto, embedded, none, one of the hub, or a folder."""

import filecmp
from pathlib import Path

from calm_ft.metrics.embedded_asr import EmbeddedASR
from calm_ft.metrics.registry import DEFAULT_ASR

AUTO_ASR, EMBEDDED_ASR = "auto", "embedded"
_EMBEDDED_WEIGHTS = Path(__file__).parents[1] / "assets" / "nano" / "model.safetensors"


def choose_recogniser(asr: str, model: str | None, force: bool = False) -> str | EmbeddedASR:
    """The embedded one for the embedded model, which speaks as it was taught to hear; for others one of the hub.

    Args:
        model: what a run was given as its model, if it is known.
        force: let the embedded one judge any model.

    Raises UserError where the embedded one is asked for another model, unless it is forced.
    """
    is_nano = is_embedded(model)
    if asr != EMBEDDED_ASR and not (asr == AUTO_ASR and is_nano):
        return DEFAULT_ASR if asr == AUTO_ASR else asr
    embedded = EmbeddedASR()
    embedded.check_system(is_nano=is_nano, force=force)
    return embedded


def is_embedded(model: str | None) -> bool:
    """Whether a run tuned the embedded model, wherever that lay then."""
    weights = Path(str(model)) / "model.safetensors"
    return weights.is_file() and filecmp.cmp(weights, _EMBEDDED_WEIGHTS, shallow=False)
