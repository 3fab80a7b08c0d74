"""Does the synthesis say its sentence? The true sentence's recording should be the nearest among all
candidates.

Distance: the MCD along the best alignment (`mcd.dtw_distortion`), a mean over the path and so independent of
length, between cepstra from which each clip's own mean is taken: that removes most of the voice (the
long-term spectrum) and leaves what changes over time, the words. Chance is one in the number of candidates.
"""

from collections.abc import Sequence

import numpy as np

from calm_ft.metrics.mcd import dtw_distortion


def identify_sentence(synthesized_cepstra: np.ndarray, candidates: Sequence[np.ndarray]) -> int:
    """The index of the candidate nearest to the synthesis, both cepstra [F, 13] from `mcd.mel_cepstra`.

    Raises ValueError if there is no candidate, or no frame of the synthesis (it is silent) to compare with
    them.
    """
    if not candidates:
        raise ValueError("sentence identification needs at least one candidate recording")
    if not len(synthesized_cepstra):
        raise ValueError("a silent clip says no sentence")
    synthesized = _without_mean(synthesized_cepstra)
    return int(np.argmin([dtw_distortion(synthesized, _without_mean(candidate)) for candidate in candidates]))


def _without_mean(cepstra: np.ndarray) -> np.ndarray:
    return cepstra - cepstra.mean(axis=0) if len(cepstra) else cepstra
