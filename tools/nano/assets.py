"""The demo voice, the judging voices and the base voices to replay, as ogg + txt pairs.

`demo_voice/train` (about 5 minutes) and `heldout` share no sentence with each other or with what the model learned
from. `judging_voices/<voice>` hold six clips each, for nearest-voice identification; the base
voice has all sentences of `demo_voice/heldout` and, as its last clip, one more to prompt it with, so that it can be
judged as the demo voice is. `base_voices/<voice>` hold 16 clips each of voices that the base knows and that judge
nothing, to be mixed into training; their sentences stand nowhere else and differ from voice to voice.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from calm_ft.atomic_file import write_text
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from tools.nano.everyday import EVERYDAY, NAME_TEMPLATES, NUMBER_TEMPLATES, PLAIN, QUESTION_TEMPLATES
from tools.nano.grammar import Grammar
from tools.nano.sentences import make_sentences
from tools.nano.voices import BASE_VOICE, DEMO_VOICE, JUDGING_VOICES, REPLAY_VOICES, ZERO_SHOT_VOICES

NUM_TRAIN_CLIPS = 152
NUM_HELDOUT_CLIPS = 24
NUM_JUDGING_CLIPS = 6
NUM_REPLAY_VOICES = 8
NUM_REPLAY_CLIPS = 16
_OPUS_COMPRESSION = 0.9  # about 30 kbit/s, where the recogniser hears what it hears uncompressed


@dataclass(frozen=True)
class EverydaySentences:
    """All sets are disjoint, and neither corpus says any of their sentences (`corpus.flow_lm_lines`).

    `replay` holds a list for each of REPLAY_VOICES; `unshipped` are sentences that no shipped clip says.
    """

    heldout: list[str]
    train: list[str]
    base_prompt: str
    replay: list[list[str]]
    unshipped: list[str]

    def all(self) -> set[str]:
        """Every sentence of every set."""
        return {*self.heldout, *self.train, self.base_prompt, *(text for each in self.replay for text in each)} | set(
            self.unshipped
        )


def everyday_sentences(seed: int) -> EverydaySentences:
    """The sentences of every shipped clip, and a few more; the same seed gives the same ones."""
    taken: set[str] = set()

    def make(num_sentences: int, stream: str) -> list[str]:
        sentences = EVERYDAY.make_sentences(num_sentences, seed=seed, stream=stream, taken=taken)
        taken.update(sentences)
        return sentences

    heldout, train = make(NUM_HELDOUT_CLIPS, "heldout"), make(NUM_TRAIN_CLIPS, "demo_train")
    base_prompt = max(make(20, "base_prompt"), key=len)
    # By number, not by name: the sentences that measure the voices must not depend on which were chosen.
    replay = [make(NUM_REPLAY_CLIPS, f"replay.{number}") for number in range(NUM_REPLAY_VOICES)]
    return EverydaySentences(heldout, train, base_prompt, replay, make(NUM_REPLAY_CLIPS, "unshipped"))


def write_assets(directory: Path, seed: int) -> None:
    """Write `demo_voice/`, `judging_voices/` and `base_voices/` anew."""
    sentences = everyday_sentences(seed)
    write_voice(directory / "demo_voice" / "train", DEMO_VOICE, sentences.train)
    write_voice(directory / "demo_voice" / "heldout", DEMO_VOICE, sentences.heldout)
    shutil.rmtree(directory / "judging_voices", ignore_errors=True)
    for voice in (*JUDGING_VOICES, *ZERO_SHOT_VOICES):
        full, few = [*sentences.heldout, sentences.base_prompt], sentences.heldout[:NUM_JUDGING_CLIPS]
        write_voice(directory / "judging_voices" / voice.name, voice, full if voice == BASE_VOICE else few)
    write_base_voices(directory / "base_voices", sentences)


def write_base_voices(directory: Path, sentences: EverydaySentences) -> None:
    """Write the voices to replay, one folder each."""
    shutil.rmtree(directory, ignore_errors=True)
    for voice, texts in zip(REPLAY_VOICES, sentences.replay, strict=True):
        write_voice(directory / voice.name, voice, texts)


def write_voice(directory: Path, voice: EspeakVoice, texts: Sequence[str]) -> None:
    """Record sentences as `000.ogg` with `000.txt`, and so on, in place of what the folder held."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for number, text in enumerate(texts):
        path = directory / f"{number:03d}.ogg"
        samples = synthesize(text, voice)
        soundfile.write(
            path, samples, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS", compression_level=_OPUS_COMPRESSION
        )
        write_text(path.with_suffix(".txt"), text + "\n")


NUM_TEST_SENTENCES = 40
TEST_KINDS = {"numbers": NUMBER_TEMPLATES, "questions": QUESTION_TEMPLATES, "names": NAME_TEMPLATES}


def held_out_sentences(seed: int) -> dict[str, list[str]]:
    """Kind -> sentences that no training clip of the base or of a recogniser says, to judge both by.

    `everyday` holds all of the demo's held-out sentences, `rare` those of the templates over 3,600 words.
    """
    everyday = everyday_sentences(seed)
    kinds = {"everyday": [*everyday.heldout, *everyday.unshipped]}
    for kind, templates in TEST_KINDS.items():
        kinds[kind] = Grammar(templates, PLAIN.vocabulary).make_sentences(
            NUM_TEST_SENTENCES, seed=seed, stream=f"test.{kind}", taken=everyday.all()
        )
    return kinds | {"rare": make_sentences(NUM_TEST_SENTENCES, seed=seed, stream="asr_test")}


def reserved_sentences(seed: int) -> set[str]:
    """What no training clip may say: the sentences of all shipped clips and those of `held_out_sentences`."""
    return everyday_sentences(seed).all() | {text for texts in held_out_sentences(seed).values() for text in texts}
