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
from calm_ft.adapters.reduced import state_in
from calm_ft.commands import command_line

CARD = "README.md"
HEARING = ("tokenizer.", "speaker_encoder.")
"""Parts of S3Gen that hear recordings. They are stored in float32: bfloat16 changed 3 of 169 tokens of recordings."""


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
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the weights, the tokenizer's files, conds.pt and README.md.

    Args:
        changed: names of the weight files whose networks may have been trained.
        dtype: of the `reducible_weights`. Of another type than float32 their files are written anew, and stock loads
            them into float32.

    The folder appears under its name only when it is whole; an export that was there before is replaced by it.
    Raises UserError where `directory` holds anything that is not an export, is the base model's, or cannot be written.
    """
    directory = directory.resolve()
    exported = (*release.required, *release.optional, CARD)
    check_target(directory, exported, release.t3, models.files.values())
    tuned = set(changed)
    reduced = set() if dtype == torch.float32 else {release.t3, release.s3gen}

    def write_files(staging: Path) -> None:
        networks = {release.voice_encoder: models.voice_encoder, release.t3: models.t3, release.s3gen: models.s3gen}
        for name, network in networks.items():
            if name in tuned | reduced or name not in models.files:
                save_network(network, staging / name, dtype if name in reduced else torch.float32)
            else:
                link_or_copy(models.files[name], staging / name)
        for name, path in models.tokenizer_files.items():
            shutil.copyfile(path, staging / name)
        save_voice(voice, staging / CONDITIONALS)
        (staging / CARD).write_text(_card(release, stock, base_model, tuned, dtype), encoding="utf-8")

    write_folder(directory, write_files)


def reducible_weights(models: ChatterboxModels) -> list[nn.Parameter]:
    """Those of T3 and of the parts of S3Gen that speak; a voice is heard as before."""
    speaking = [weight for name, weight in models.s3gen.named_parameters() if not name.startswith(HEARING)]
    return [*models.t3.parameters(), *speaking]


def save_network(network: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """All tensors of a network, in a safetensors file or, by the ending of its name, in one of torch's own.

    Args:
        dtype: of the parameters of what speaks; buffers, such as filters and tables, stay as they are.
    """
    state = state_in(dtype, network, except_for=HEARING)
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


def _card(release: Release, stock: StockClass, base_model: str, changed: set[str], dtype: torch.dtype) -> str:
    tuned = ", ".join(f"`{name}`" for name in sorted(changed or {CONDITIONALS}))
    title = release.title.removeprefix("the English ")
    others = "every other file is the base's"
    if dtype != torch.float32:
        others = (
            f"every other weight is the base's. What speaks in `{release.t3}` and `{release.s3gen}` is stored in "
            f"{str(dtype).removeprefix('torch.')}, and loaded and played in float32"
        )
    return f"""# A fine-tuned {title} voice

Base model: {base_model}. Made with calm_ft. Tuned: {tuned}; {others}. Plays with the stock
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
