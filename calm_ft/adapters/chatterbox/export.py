"""An export: a folder that the unmodified package loads with `from_local`, with the tuned voice as its own.

Files that nothing trained in are linked to the base's where the disk allows it, else copied; the others are written
anew, tensors that were not trained bit for bit as they are.
"""

import os
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from chatterbox.tts import Conditionals
from safetensors.torch import save_file
from torch import nn

from calm_ft.adapters.chatterbox.files import CONDITIONALS, Release
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.synthesis import save_voice
from calm_ft.adapters.export_folder import check_target, write_folder
from calm_ft.commands import command_line

CARD = "README.md"


@dataclass(frozen=True)
class StockClass:
    """The class of the unmodified package that plays an export; arguments: those of its `generate`, as Python."""

    module: str
    name: str
    arguments: str = '"Hello there."'


def write_export(
    models: ChatterboxModels,
    release: Release,
    stock: StockClass,
    directory: Path,
    voice: Conditionals,
    changed: Iterable[str],
    base_model: str,
) -> None:
    """Write the weights, the tokenizer's files, conds.pt and README.md.

    Args:
        changed: names of the weight files whose networks may have been trained.

    The folder appears under its name only when it is whole; an export that was there before is replaced by it.
    Raises UserError where `directory` holds anything that is not an export, is the base model's, or cannot be written.
    """
    directory = directory.resolve()
    exported = (*release.required, *release.optional, CARD)
    check_target(directory, exported, release.t3, models.files.values())
    anew = set(changed)

    def write_files(staging: Path) -> None:
        networks = {release.voice_encoder: models.voice_encoder, release.t3: models.t3, release.s3gen: models.s3gen}
        for name, network in networks.items():
            if name in anew or name not in models.files:
                save_network(network, staging / name)
            else:
                link_or_copy(models.files[name], staging / name)
        for name, path in models.tokenizer_files.items():
            shutil.copyfile(path, staging / name)
        save_voice(voice, staging / CONDITIONALS)
        (staging / CARD).write_text(_card(release, stock, base_model, anew), encoding="utf-8")

    write_folder(directory, write_files)


def save_network(network: nn.Module, path: Path) -> None:
    """All tensors of a network, in a safetensors file or, by the ending of its name, in one of torch's own."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if path.suffix != ".safetensors":
        torch.save(state, path)
        return
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes its files private


def link_or_copy(source: Path, target: Path) -> None:
    """Another name of a file (of what a symbolic link, as in the hub's cache, points to), or a copy of it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def how_to_play(models: ChatterboxModels, stock: StockClass, directory: Path) -> str:
    """A command that speaks with the stock package; the tiny model, of whose size upstream knows nothing, with ours."""
    if models.is_tiny:
        return command_line("synthesize", [directory, "--text", "Hello there.", "--output", "hello.wav"])
    code = (
        f"import soundfile; from {stock.module} import {stock.name}; "
        f"tts = {stock.name}.from_local({str(directory)!r}, 'cpu'); "
        f"soundfile.write('hello.wav', tts.generate({stock.arguments})[0].numpy(), tts.sr)"
    )
    return f"python -c {shlex.quote(code)}"


def _card(release: Release, stock: StockClass, base_model: str, changed: set[str]) -> str:
    tuned = ", ".join(f"`{name}`" for name in sorted(changed or {CONDITIONALS}))
    title = release.title.removeprefix("the English ")
    return f"""# A fine-tuned {title} voice

Base model: {base_model}. Made with calm_ft. Tuned: {tuned}; every other file is the base's. Plays with the stock
`chatterbox-tts` package, from any folder:

```python
import soundfile
from {stock.module} import {stock.name}

tts = {stock.name}.from_local("this folder", "cpu")  # or "cuda"
soundfile.write("hello.wav", tts.generate({stock.arguments})[0].numpy(), tts.sr)
```

- `{CONDITIONALS}`: the tuned voice; `audio_prompt_path=` takes a recording in its place.
- The audio carries Chatterbox's inaudible watermark.

Speak only in voices whose owners agreed to it. The base model's licence applies to these weights.
"""
