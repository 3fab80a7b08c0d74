"""How each fault comes about: functions that spoil a place."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.data.feature_cache import CacheEntry, FeatureCache
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.sources import read_recordings
from calm_ft.data.split import split_validation
from calm_ft.data.utterance import Utterance
from tests.adapters.tiny_bundle import write_tiny_bundle
from tests.scripts.bad_input.bad_audio import KINDS
from tests.scripts.bad_input.place import Place, limit_file_size

Prepare = Callable[[Place], None]


def nothing(place: Place) -> None:
    """The overrides are fault enough."""


def texts_alone(place: Place) -> None:
    (place.here / "a.txt").write_text("Some words.")


def clips(count: int) -> Prepare:
    """So many good clips in `here`."""

    def prepare(place: Place) -> None:
        for audio in sorted(place.good.glob("*.ogg"))[:count]:
            for path in (audio, audio.with_suffix(".txt")):
                shutil.copy(path, place.here)

    return prepare


def clips_in(language: str) -> Prepare:
    """Four good clips in `here`, in a list that says that they are in this language."""

    def prepare(place: Place) -> None:
        clips(4)(place)
        rows = [f"{audio.name}\tSome words.\t{language}" for audio in sorted(place.here.glob("*.ogg"))]
        (place.here / "list.tsv").write_text("\n".join(["path\ttext\tlanguage", *rows, ""]))
        for text in place.here.glob("*.txt"):
            text.unlink()

    return prepare


def two_clips_of(kind: str) -> Prepare:
    def prepare(place: Place) -> None:
        for name in ("a.wav", "b.wav"):
            KINDS[kind][0](place.here / name)

    return prepare


def one_clip_of_each_kind(place: Place) -> None:
    for name, (make, _) in KINDS.items():
        make(place.good / f"{name}.wav")


def other_model(place: Place) -> None:
    place.interrupted_run()
    write_tiny_bundle(place.here / "model", num_layers=2)


def other_recordings(place: Place) -> None:
    place.interrupted_run()
    clips(4)(place)


def interrupted(place: Place) -> None:
    place.interrupted_run()


def killed_before_its_first_checkpoint(place: Place) -> None:
    place.interrupted_run()
    shutil.rmtree(place.run / "checkpoints")
    (place.run / ".run.json.half").write_text("{")


def damaged(*names: str) -> Prepare:
    """An interrupted run whose files of these patterns are cut in half."""

    def prepare(place: Place) -> None:
        place.interrupted_run()
        for path in [path for name in names for path in place.run.glob(name)]:
            cut_in_half(path)

    return prepare


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()  # last.ckpt and the newest step are one file
    path.write_bytes(content[: len(content) // 2])


def cut_shard(place: Place) -> None:
    for shard in place.cache.glob("*/shard-*.safetensors"):
        cut_in_half(shard)


def file_in_the_place_of(name: str) -> Prepare:
    def prepare(place: Place) -> None:
        (place.here / name).touch()

    return prepare


def silent_voice(place: Place) -> None:
    KINDS["silent"][0](place.here / "silent.wav")


def run_of_another(place: Place) -> None:
    shutil.copytree(place.pristine.run, place.run)


def folder_of_other_files(place: Place) -> None:
    place.run.mkdir()
    (place.run / "thesis.txt").write_text("Chapter one.")


def full_disk(num_bytes: int) -> Prepare:
    """No room for a file of more bytes, from the beginning."""
    return lambda place: limit_file_size(num_bytes)


def full_disk_and_no_cache(place: Place) -> None:
    shutil.rmtree(place.cache)
    limit_file_size(2200)


class FillsUp(Callback):
    """The disk is full from a step on, or once training has ended."""

    def __init__(self, num_bytes: int, at_step: int | None = None) -> None:
        self.num_bytes = num_bytes
        self.at_step = at_step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, _: Any) -> None:
        if trainer.global_step + 1 == self.at_step:
            limit_file_size(self.num_bytes)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        limit_file_size(self.num_bytes)


def filling_up(num_bytes: int, at_step: int | None = None) -> str:
    """The override that adds `FillsUp`."""
    settings = f"num_bytes:{num_bytes}" + (f",at_step:{at_step}" if at_step is not None else "")
    return f"+trainer.callbacks=[{{_target_:{__name__}.FillsUp,{settings}}}]"


def training_clip(place: Place) -> Utterance:
    """A clip that the usual split trains on."""
    found = read_recordings(place.good).utterances
    cache = FeatureCache(place.cache, "none")
    clips = [EncodedUtterance(each, 1, 1.0, each.id, cache) for each in found]
    return split_validation(clips, 0.1, 0).train[0].utterance


def not_a_number_in_the_cache(place: Place) -> None:
    """One training clip's stored features are NaN; the run's first two steps saw them whole."""
    place.interrupted_run()
    key = hashlib.sha256(training_clip(place).audio_path.read_bytes()).hexdigest()
    (folder,) = (each for each in place.cache.iterdir() if not each.name.startswith("voices-"))
    stored = FeatureCache(place.cache, folder.name)
    entry = CacheEntry(stored.read(key), stored.info(key).num_frames, stored.info(key).duration_sec)
    spoiled = {**entry.features, "latents": torch.full_like(entry.features["latents"], torch.nan)}
    others = {path: path.with_name(path.name.replace("shard-", "shard-later-")) for path in folder.iterdir()}
    FeatureCache(place.cache, folder.name).write_shard({key: CacheEntry(spoiled, entry.num_frames, entry.duration_sec)})
    for path, behind in others.items():  # of two shards that hold a clip the first counts
        path.rename(behind)


def chatterbox_cut_short(name: str) -> Prepare:
    """The tiny Chatterbox in `here/model`, of one file only the first half."""

    def prepare(place: Place) -> None:
        from tests.adapters.chatterbox.conftest import make_adapter  # imports the package, which takes seconds

        voice = sorted(place.good.glob("*.ogg"))[0]
        make_adapter("chatterbox_full").export(place.here / "model", voice)
        cut_in_half(place.here / "model" / name)

    return prepare


BEYOND_CHATTERBOX = {
    "long.wav": (10.5, "Some words.", "adapter.max_speech_tokens=250"),
    "short.wav": (0.3, "Yes.", "too short for a voice prompt"),
    "wordy.wav": (1.5, "too many words " * 40, "more than adapter.max_text_tokens=256"),
}


def clips_beyond_chatterbox(place: Place) -> None:
    """Good sound that is too long, too short, or has too long a text."""
    for name, (duration_sec, text, _) in BEYOND_CHATTERBOX.items():
        time_sec = np.arange(round(24_000 * duration_sec)) / 24_000
        soundfile.write(place.good / name, 0.3 * np.sin(2 * np.pi * 220 * time_sec), 24_000)
        (place.good / name).with_suffix(".txt").write_text(text)
