"""An export: a folder that the unmodified `ChatterboxTTS.from_local` loads, with the tuned voice as its own.

Files that nothing trained in are linked to the base's where the disk allows it, else copied; the others are written
anew, tensors that were not trained bit for bit as they are.
"""

import os
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from chatterbox.tts import Conditionals
from safetensors.torch import save_file
from torch import nn

from calm_ft.adapters.chatterbox.files import (
    CONDITIONALS,
    REQUIRED_FILES,
    S3GEN_WEIGHTS,
    T3_WEIGHTS,
    TOKENIZER,
    VOICE_ENCODER,
)
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.synthesis import save_voice
from calm_ft.adapters.export_folder import check_target, write_folder
from calm_ft.commands import command_line

CARD = "README.md"
EXPORTED = (*REQUIRED_FILES, CONDITIONALS, CARD)


def write_export(
    models: ChatterboxModels, directory: Path, voice: Conditionals, changed: Iterable[str], base_model: str
) -> None:
    """Write ve, t3_cfg and s3gen.safetensors, tokenizer.json, conds.pt and README.md.

    Args:
        changed: names of the weight files whose networks may have been trained.

    The folder appears under its name only when it is whole; an export that was there before is replaced by it.
    Raises UserError where `directory` holds anything that is not an export, is the base model's, or cannot be written.
    """
    directory = directory.resolve()
    check_target(directory, EXPORTED, T3_WEIGHTS, models.files.values())
    anew = set(changed)
    write_folder(directory, lambda staging: _write_files(models, staging, voice, anew, base_model))


def _write_files(
    models: ChatterboxModels, staging: Path, voice: Conditionals, changed: set[str], base_model: str
) -> None:
    networks = {VOICE_ENCODER: models.voice_encoder, T3_WEIGHTS: models.t3, S3GEN_WEIGHTS: models.s3gen}
    for name, network in networks.items():
        if name in changed or name not in models.files:
            _save(network, staging / name)
        else:
            link_or_copy(models.files[name], staging / name)
    shutil.copyfile(models.tokenizer_file, staging / TOKENIZER)
    save_voice(voice, staging / CONDITIONALS)
    (staging / CARD).write_text(_card(base_model, changed), encoding="utf-8")


def _save(network: nn.Module, path: Path) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes its files private


def link_or_copy(source: Path, target: Path) -> None:
    """Another name of a file (of what a symbolic link, as in the hub's cache, points to), or a copy of it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def how_to_play(models: ChatterboxModels, directory: Path) -> str:
    """A command that speaks with the stock package; the tiny model, of whose size upstream knows nothing, with ours."""
    if models.is_tiny:
        return command_line("synthesize", [directory, "--text", "Hello there.", "--output", "hello.wav"])
    code = (
        "import soundfile; from chatterbox.tts import ChatterboxTTS; "
        f"tts = ChatterboxTTS.from_local({str(directory)!r}, 'cpu'); "
        "soundfile.write('hello.wav', tts.generate('Hello there.')[0].numpy(), tts.sr)"
    )
    return f"python -c {shlex.quote(code)}"


def _card(base_model: str, changed: set[str]) -> str:
    tuned = ", ".join(f"`{name}`" for name in sorted(changed))
    return f"""# A fine-tuned Chatterbox voice

Base model: {base_model}. Made with calm_ft. Tuned: {tuned}; every other file is the base's. Plays with the stock
`chatterbox-tts` package, from any folder:

```python
import soundfile
from chatterbox.tts import ChatterboxTTS

tts = ChatterboxTTS.from_local("this folder", "cpu")  # or "cuda"
soundfile.write("hello.wav", tts.generate("Hello there.")[0].numpy(), tts.sr)
```

- `{CONDITIONALS}`: the tuned voice; `audio_prompt_path=` takes a recording in its place.
- The audio carries Chatterbox's inaudible watermark.

Speak only in voices whose owners agreed to it. The base model's licence applies to these weights.
"""
