"""Stock generation with its analyzer of alignments, which leaves traces in the model and can end speech early.

The analyzer looks at three attention heads and forces an end where speech runs on behind the text, or goes back in it,
or where two tokens in a row are equal (chatterbox #549), wherever in the text that is.

Sources: chatterbox/models/t3/inference/alignment_stream_analyzer.py, chatterbox/models/t3/t3.py (`inference`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from chatterbox.models.t3 import T3
from chatterbox.models.t3 import t3 as t3_module
from chatterbox.models.t3.inference.alignment_stream_analyzer import AlignmentStreamAnalyzer
from chatterbox.tts import Conditionals
from torch import Tensor

from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.synthesis import SamplingSettings, SpokenTokens, generate_tokens, speakable

PATCHED = "patched_model"


@torch.no_grad()
def draw_with_analyzer(
    models: ChatterboxModels, voice: Conditionals, text_tokens: Tensor, settings: SamplingSettings
) -> SpokenTokens:
    """What T3 says of text tokens [S], start and stop included.

    It has not ended by itself where the analyzer cut it off, for two equal tokens, before the text's end was reached.
    """
    with _without_traces(models.t3) as analyzers:
        tokens = generate_tokens(models, voice, text_tokens, settings)
    stopped = int(tokens[-1]) == models.t3.hp.stop_speech_token
    was_cut = stopped and bool(analyzers) and not analyzers[0].complete and _repeats(tokens[:-1])
    return SpokenTokens(speakable(tokens), stopped and not was_cut)


def _repeats(tokens: Tensor) -> bool:
    return len(tokens) > 1 and int(tokens[-1]) == int(tokens[-2])


@contextmanager
def _without_traces(t3: T3) -> Iterator[list[AlignmentStreamAnalyzer]]:
    """The analyzers that are made within the context, whose hooks and settings are gone behind it.

    They would slow every later call down, and change its numbers, for they need another attention.
    """
    analyzers: list[AlignmentStreamAnalyzer] = []

    def recorded(*arguments: object, **settings: object) -> AlignmentStreamAnalyzer:
        analyzers.append(AlignmentStreamAnalyzer(*arguments, **settings))
        return analyzers[-1]

    config, notes = t3.tfmr.config, logging.getLogger(AlignmentStreamAnalyzer.__module__)
    attention, outputs, level = config._attn_implementation, config.output_attentions, notes.level
    hooks = [(layer.self_attn, set(layer.self_attn._forward_hooks)) for layer in t3.tfmr.layers]
    t3_module.AlignmentStreamAnalyzer = recorded
    notes.setLevel(logging.ERROR)
    try:
        yield analyzers
    finally:
        t3_module.AlignmentStreamAnalyzer = AlignmentStreamAnalyzer
        notes.setLevel(level)
        config._attn_implementation = attention
        config.output_attentions = outputs
        for module, before in hooks:
            for added in module._forward_hooks.keys() - before:
                del module._forward_hooks[added]
        t3._modules.pop(PATCHED, None)
