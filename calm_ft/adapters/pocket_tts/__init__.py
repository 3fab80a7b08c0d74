"""Kyutai's Pocket TTS: a causal transformer with a flow head over continuous Mimi latents.

Importing upstream's model sets torch to one thread. It is imported here, before any module of this package can
import it, so that the number of threads is what it was.
"""

import torch

_num_threads = torch.get_num_threads()
import pocket_tts.models.tts_model  # noqa: E402, F401

torch.set_num_threads(_num_threads)
