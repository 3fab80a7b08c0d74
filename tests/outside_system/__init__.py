"""A TTS system from outside the project, as another package would bring it: `adapter.package=tests.outside_system`.

text ──> bytes ──> embedding, each for as many frames as the voice takes for a character ─┐
voice ─> mean spectrum ───────────────────────────────────────────────────────────────────┼─> layers ─> next frame, stop
previous frame ───────────────────────────────────────────────────────────────────────────┘

Frames are log-magnitude spectra, so that features need no weights; a voice needs the text of its recording. Importing
the package registers the system.
"""

from calm_ft.adapters.registry import register
from tests.outside_system.system import SpectrumSystem

register(SpectrumSystem())
