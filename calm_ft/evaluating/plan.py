"""Everything that an evaluation needs, read and checked before a system speaks and a file is written."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.atomic_file import why_not_a_folder
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.evaluating.base_voices import BaseVoices, read_base_voices
from calm_ft.evaluating.heldout import HeldOut, heldout_folder, load_recording, read_heldout
from calm_ft.evaluating.settings import EvaluationSettings
from calm_ft.evaluating.subject import Models, Subject, find_subject
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.metrics.recognisers import choose_recogniser


@dataclass(frozen=True)
class Plan:
    """voice: what prompts all systems; prompt: its samples [T], None where it is a saved state.

    folder: where the evaluation is written; earlier: where other evaluations of the same run may lie.
    """

    subject: Subject
    folder: Path
    earlier: list[Path]
    models: Models
    heldout: HeldOut
    base_voices: BaseVoices
    voice: Path
    prompt: Tensor | None
    seed: int
    asr: str | EmbeddedASR

    @property
    def adapter(self) -> TTSAdapter:
        """The base's; it decodes, checks texts and has the codec."""
        return self.models.adapter


def prepare(model: str, settings: EvaluationSettings) -> Plan:
    """Read and check everything.

    Raises UserError for input that is the user's to mend; nothing is written.
    """
    subject = find_subject(model, settings.of)
    folder = settings.output_dir or subject.default_output
    reason = why_not_a_folder(folder)
    if reason is not None:
        raise UserError(f"{folder} cannot be written ({reason}): pass another --output-dir.")
    sentences_in = heldout_folder(subject, settings.heldout_path)
    prompt_file = settings.voice or subject.prompt_file()
    if prompt_file is not None and not prompt_file.is_file():
        raise UserError(f"There is no recording {prompt_file}: pass an audio file of the voice as --voice.")
    models = Models(subject)
    adapter = models.adapter
    prompt = None
    if prompt_file is not None:
        prompt = load_recording(Utterance("voice", prompt_file, ""), adapter.sample_rate_hz)
    voice = prompt_file or Path(subject.saved_voice())
    if prompt_file is None:
        adapter.load_voice(voice)  # a saved state may be damaged, or another architecture's
    seed = (models.config or {}).get("seed", 0)
    heldout = read_heldout(subject, sentences_in, adapter, settings.num_sentences, seed)
    base_voices = read_base_voices(subject, settings, adapter, seed)
    own_model = (models.config or {}).get("adapter", {}).get("model")
    asr = choose_recogniser(settings.asr, own_model, settings.force_asr)
    earlier = [each for each in subject.evaluation_folders() if each != folder]
    return Plan(subject, folder, earlier, models, heldout, base_voices, voice, prompt, seed, asr)
