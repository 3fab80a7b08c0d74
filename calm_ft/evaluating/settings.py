"""What scripts/evaluate.py can be asked for."""

from dataclasses import dataclass
from pathlib import Path

from calm_ft.errors import UserError
from calm_ft.metrics.recognisers import AUTO_ASR


@dataclass(frozen=True)
class EvaluationSettings:
    """How to evaluate; see scripts/evaluate.py. Raises UserError for counts that leave nothing to do."""

    num_sentences: int = 50
    num_seeds: int = 1
    asr: str = AUTO_ASR
    force_asr: bool = False
    of: str | None = None
    output_dir: Path | None = None
    heldout_path: Path | None = None
    voice: Path | None = None
    base_voices: Path | None = None
    base_sentences: int = 4
    max_base_voices: int = 8

    def __post_init__(self) -> None:
        for name, least in (("num_sentences", 1), ("num_seeds", 1), ("base_sentences", 0), ("max_base_voices", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)} must be at least {least}.")
        if not self.asr.removeprefix("faster-whisper:").strip():
            raise UserError(
                "--asr is empty: name a speech recogniser of the hub, a folder with one, "
                "faster-whisper:MODEL, embedded, or none."
            )
