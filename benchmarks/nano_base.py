"""Judges the embedded base: how well it reads, and how like a voice it sounds from one prompt clip.

Known voices were trained on; of the unheard ones neither base nor codec had a clip. No sentence was trained on, and
each is spoken with several noises. Every figure comes with its 95 % interval over sentences. CER is by the embedded
recogniser, and `cer_second` by another one, where `--second DIR` has it.

    python -m benchmarks.nano_base --output nano_base.json [--model CONFIG.yaml ...] [--num-seeds 3]
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile
import torch
from tqdm import tqdm

from benchmarks.measuring import parser_of, positive
from calm_ft.adapters.base import TTSAdapter
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS, compose_config, experiment_from
from calm_ft.errors import run_script
from calm_ft.metrics.base import Metric, NotMeasured, SpeechClip
from calm_ft.metrics.bootstrap import mean_interval
from calm_ft.metrics.distortion import Distortion
from calm_ft.metrics.embedded_recogniser import ASSET, EmbeddedASR, spoken_characters
from calm_ft.metrics.identification import SentenceIdentified, VoiceIdentified, VoiceReferences
from calm_ft.randomness import derive_seed
from tools.nano.assets import everyday_sentences, held_out_sentences
from tools.nano.bundle import read_state
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from tools.nano.everyday import spelled_out
from tools.nano.voices import BASE_VOICE, DEMO_VOICE, JUDGING_VOICES, REPLAY_VOICES, ZERO_SHOT_VOICES

SEED = 0
GROUPS = {"known": (BASE_VOICE, REPLAY_VOICES[0]), "unheard": (DEMO_VOICE, *ZERO_SHOT_VOICES)}
NUM_SENTENCES = 24
FIGURES = ("cer", "wer", "cer_second", "sentence_identified", "voice_identified", "mcd_db", "duration_ratio")
Values = dict[str, dict[tuple[int, int], float]]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--model", type=Path, action="append", help="a bundle's config.yaml (default: the shipped one)")
    parser.add_argument("--num-seeds", type=positive, default=3)
    parser.add_argument("--num-sentences", type=positive, default=NUM_SENTENCES, help="of each kind")
    parser.add_argument("--num-steps", type=positive, default=4, help="flow steps that one step is compared with")
    parser.add_argument("--recogniser", type=Path, default=ASSET, help="its folder (default: the shipped one)")
    parser.add_argument("--second", type=Path, help="folder of another recogniser")
    given = parser.parse_args()
    figures = {"torch": torch.__version__, "num_seeds": given.num_seeds, "models": {}}
    judge = Judge(given.num_sentences, given.num_seeds, given.recogniser, given.second)
    figures["recordings"] = judge.recordings()
    for model in given.model or [ASSETS / "nano" / "config.yaml"]:
        adapter = experiment_from(compose_config(["adapter=nano", "logger=csv", f"adapter.model={model}"]))
        row = judge.model(adapter.adapter_factory().eval(), given.num_steps)
        row["num_bytes"] = sum(each.stat().st_size for each in model.parent.iterdir())
        row["num_parameters"] = sum(each.numel() for each in read_state(model.parent).values())
        name = model.parent.name  # of two exports, each in its run's folder, both are kept
        figures["models"][name if name not in figures["models"] else "/".join(model.parent.parts[-2:])] = row
    write_text(given.output, json.dumps(figures, indent=2) + "\n")


class Judge:
    """The sentences, their recordings and the prompt of every voice, and what measures a clip."""

    def __init__(self, num_sentences: int, num_seeds: int, first: Path = ASSET, second: Path | None = None) -> None:
        self.num_seeds = num_seeds
        self.kinds = {kind: texts[:num_sentences] for kind, texts in held_out_sentences(SEED).items()}
        self.prompt_text = everyday_sentences(SEED).base_prompt
        judging = {*JUDGING_VOICES, DEMO_VOICE, *ZERO_SHOT_VOICES}
        texts = everyday_sentences(SEED).unshipped[:8]
        clips = {voice.name: [synthesize(text, voice) for text in texts] for voice in judging}
        for voice in GROUPS["known"]:
            clips.setdefault(voice.name, [synthesize(text, voice) for text in texts])
        self.voices = VoiceReferences.from_clips(clips, SAMPLE_RATE_HZ)
        self.recognisers = {"": EmbeddedASR(first)}
        if second is not None:
            self.recognisers["_second"] = EmbeddedASR(second)

    def recordings(self) -> dict[str, Any]:
        """The same figures of espeak-ng's own speech: what a perfect copy would reach."""
        rows = {}
        for group, voices in GROUPS.items():
            for kind, texts in self.kinds.items():
                values: Values = {}
                for number, voice in enumerate(voices):
                    said = [synthesize(text, voice) for text in texts]
                    self._measure(voice, texts, [(0, said)], number, values)
                rows[f"{group}, {kind}"] = _summed(values)
        return rows

    def model(self, adapter: TTSAdapter, num_steps: int) -> dict[str, Any]:
        """Group and kind -> figures; everyday sentences also by voice, with more flow steps, and as the codec has them.

        "codec" is espeak-ng's speech through the model's codec: what a perfect FlowLM would reach.
        """
        rows: dict[str, Any] = {f"{group}, everyday, codec": self._coded(adapter, group) for group in GROUPS}
        jobs = [(group, kind, 1) for group in GROUPS for kind in self.kinds]
        jobs += [(group, "everyday", num_steps) for group in GROUPS]
        for group, kind, steps in tqdm(jobs, desc="judging", disable=not sys.stderr.isatty()):
            values: Values = {}
            for number, voice in enumerate(GROUPS[group]):
                own = self._spoken(adapter, voice, self.kinds[kind], steps, number, values)
                if kind == "everyday":
                    rows[f"{voice.name}, {steps} steps"] = _summed(own)
            name = f"{group}, {kind}" + (f", {steps} steps" if steps > 1 else "")
            rows[name] = _summed(values)
            print(name, {figure: row["mean"] for figure, row in rows[name].items()}, flush=True)
        return rows

    def _coded(self, adapter: TTSAdapter, group: str) -> dict[str, Mapping[str, Any]]:
        values: Values = {}
        for number, voice in enumerate(GROUPS[group]):
            takes = []
            for text in self.kinds["everyday"]:
                coded = adapter.reconstruct(torch.from_numpy(synthesize(text, voice)))
                assert coded is not None
                takes.append(coded.numpy())
            self._measure(voice, self.kinds["everyday"], [(0, takes)], number, values)
        return _summed(values)

    def _spoken(
        self, adapter: TTSAdapter, voice: EspeakVoice, texts: Sequence[str], steps: int, number: int, values: Values
    ) -> Values:
        with tempfile.TemporaryDirectory() as scratch:
            soundfile.write(path := Path(scratch) / "prompt.wav", synthesize(self.prompt_text, voice), SAMPLE_RATE_HZ)
            prompt = adapter.load_voice(path)
        takes = []
        for seed in range(self.num_seeds):
            seeds = [derive_seed(SEED, f"nano_base.{seed}", index) for index in range(len(texts))]
            spoken = adapter.synthesize(texts, prompt, seeds, num_steps=steps)
            takes.append((seed, [np.asarray(each.audio) for each in spoken]))
        own: Values = {}
        self._measure(voice, texts, takes, number, own)
        for figure, each in own.items():
            values.setdefault(figure, {}).update(each)
        return own

    def _measure(
        self,
        voice: EspeakVoice,
        texts: Sequence[str],
        takes: Iterable[tuple[int, Sequence[np.ndarray]]],
        number: int,
        values: Values,
    ) -> None:
        recorded = {text: synthesize(text, voice) for text in texts}
        metrics: list[Metric] = [Distortion(), SentenceIdentified(recorded, SAMPLE_RATE_HZ)]
        metrics.append(VoiceIdentified(self.voices, voice.name))
        for seed, clips in takes:
            for index, (text, audio) in enumerate(zip(texts, clips, strict=True)):
                clip = SpeechClip(audio, SAMPLE_RATE_HZ, text, recorded[text])
                measured = {name: value for metric in metrics for name, value in metric.measure(clip).items()}
                for figure, value in (measured | self._letters(clip)).items():
                    if not isinstance(value, NotMeasured) and figure in FIGURES:
                        values.setdefault(figure, {})[1000 * number + index, seed] = value

    def _letters(self, clip: SpeechClip) -> dict[str, float]:
        """Error rates over what is said, letter by letter: `42` counts as the letters of `forty two`."""
        said = spoken_characters(spelled_out(clip.text))
        rates: dict[str, float] = {}
        for suffix, recogniser in self.recognisers.items():
            heard = recogniser.transcribe(clip.audio, clip.sample_rate_hz)
            rates |= {f"cer{suffix}": jiwer.cer(said, heard), f"wer{suffix}": jiwer.wer(said, heard)}
        return rates


def _summed(values: Values) -> dict[str, Mapping[str, Any]]:
    rows: dict[str, Mapping[str, Any]] = {}
    for figure, each in values.items():
        interval = mean_interval(each)
        bounds = {name: None if value is None else round(value, 4) for name, value in vars(interval).items()}
        rows[figure] = {**bounds, "n": interval.n}
    return rows


if __name__ == "__main__":
    run_script(main)
