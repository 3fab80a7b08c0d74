"""What can be done with a finished run or an export: write it out again, move it, publish it, let it speak."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from calm_ft.adapters import registry
from calm_ft.adapters.base import LearnsVoice, Synthesis, TTSAdapter
from calm_ft.adapters.playing import Playing
from calm_ft.adapters.reduced import DTYPES
from calm_ft.adapters.voice_library import VoiceLibrary, find_voice
from calm_ft.commands import command_line
from calm_ft.config import build, build_adapter
from calm_ft.errors import UserError
from calm_ft.finetuning.lora_file import merge_lora_file
from calm_ft.finetuning.strategy import Strategy
from calm_ft.metrics.audio_io import write_wav
from calm_ft.training.evaluation import exported_voice
from calm_ft.training.resume import checkpoint_path, read_checkpoint, trained_weights


def export_run(run_dir: Path, which: str, averaged: bool, output_dir: Path | None, dtype: str | None = None) -> Path:
    """Export a run's checkpoint (by default its averaged weights) to `output_dir`, or RUN/export; returns the folder.

    Args:
        dtype: of the weights, as `export.dtype` names it; None: the run's own.

    Raises UserError where the folder is not a run, its checkpoint is damaged, its voice prompt is gone, or the system
    has no exports of that type.
    """
    config = run_config(run_dir)
    # Before the model, which takes longer to load.
    checkpoint = read_checkpoint(checkpoint_path(run_dir, which), mapped=True)
    prompt = exported_voice(run_dir)
    if not prompt.is_file():
        raise UserError(f"{prompt} is missing, so the export would have no voice: put a recording of the voice there.")
    adapter = build_adapter(config["adapter"])
    adapter.export_as(DTYPES[dtype or config.get("export", {}).get("dtype", "fp32")])
    strategy = load_tuned(adapter, config, trained_weights(checkpoint, averaged))
    directory = output_dir or run_dir / "export"
    with strategy.merged(adapter):
        adapter.export(directory, prompt)
    return directory


def load_tuned(adapter: TTSAdapter, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Strategy:
    """Load what a run trained into its base model; returns the strategy, in whose `merged` it is as exported.

    Raises UserError where the weights do not fit.
    """
    strategy: Strategy = build(config["strategy"])
    strategy.apply(adapter, lr=0.0)
    strategy.load_state(adapter, weights)
    adapter.eval()
    return strategy


def export_dir(path: Path) -> Path:
    """The folder of an export, given itself or its run.

    Raises UserError where neither holds an export.
    """
    return _export(path)[0]


def _export(path: Path) -> tuple[Path, registry.System]:
    _import_package_of_run(path)
    for candidate in (path, path / "export"):
        system = registry.system_of_export(candidate)
        if system is not None:
            return candidate, system
    raise UserError(
        f"{path} holds no export: pass a run or an export, or write one with `{command_line('export')} RUN`."
    )


def _import_package_of_run(path: Path) -> None:
    """Make the system of a run known, which a package from outside may register, given the run or its export."""
    for folder in (path, path.absolute().parent):
        if (folder / "run.json").is_file() and (folder / "config.yaml").is_file():
            package = run_config(folder)["adapter"].get("package")
            if package is not None:
                registry.import_package(package)
            return


def relocate_export(path: Path) -> Path:
    """Write an export's present place into its files after a move, where they name one; returns its folder."""
    directory, system = _export(path)
    system.relocate(directory)
    return directory


def push_export(path: Path, repo: str) -> str:
    """Upload an export; returns what `adapter.model=` takes for it."""
    directory, system = _export(path)
    return system.publish(directory, repo)


def run_config(run_dir: Path) -> dict[str, Any]:
    """A run's own configuration.

    Raises UserError where the folder is not a run, or its configuration is damaged.
    """
    if not (run_dir / "run.json").is_file() or not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir} is not a run's folder (it has no run.json): pass the output_dir of a run.")
    try:
        config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict) or not {"adapter", "strategy"} <= config.keys():
        raise UserError(f"{run_dir / 'config.yaml'} is damaged: put the run's own one back, or pass another run.")
    return config


def adapter_for(model: str) -> TTSAdapter:
    """The adapter of an export, of a run's export, or of whatever `adapter.model=` takes."""
    if Path(model).is_dir():
        directory, system = _export(Path(model))
        return system.load(str(directory))
    return registry.system_of_name(model).load(model)


def own_voice(model: str) -> str:
    """The voice that an export comes with. Raises UserError where there is none."""
    if Path(model).is_dir():
        directory, system = _export(Path(model))
        own = system.default_voice(directory)
        if own is not None:
            return str(own)
    raise UserError(f"{model} comes without a voice: pass --voice with a recording, or the name of a voice.")


def synthesize_to_file(
    model: str,
    text: str,
    voice: str | None,
    output: Path,
    seed: int,
    temperature: float | None,
    num_steps: int | None,
    lora: Path | None = None,
    cfg_coef: float | None = None,
    quantize: bool = False,
) -> Synthesis:
    """Speak a text into a wav file.

    Args:
        lora: a LoRA file, to be folded into the model.
        quantize: whether the model speaks with int8 weights.

    Raises UserError for an empty text, a model or voice that is not there, settings out of range, and a system that
    cannot be played with int8 weights.
    """
    if temperature is not None and temperature < 0:
        raise UserError(f"--temperature {temperature} cannot be negative.")
    if num_steps is not None and num_steps < 1:
        raise UserError(f"--num-steps {num_steps} must be at least 1.")
    if cfg_coef is not None and cfg_coef <= 0:
        raise UserError(f"--cfg-coef {cfg_coef} must be above 0; 1 is no guidance.")
    adapter = adapter_for(model)
    adapter.check_text(text)
    adapter.play_as(Playing(temperature=temperature, num_steps=num_steps, cfg_coef=cfg_coef))
    if lora is not None:
        merge_lora_file(adapter, lora)
    voice = voice or own_voice(model)
    if lora is not None and not _is_recording(voice):
        raise UserError(
            f"The voice {voice} is a state of the base model's weights and does not fit them with --lora: pass --voice "
            "with a recording."
        )
    if quantize:
        adapter = adapter.quantized()
    prompt = find_voice(voice, adapter)
    if isinstance(adapter, LearnsVoice) and adapter.is_left_out_of(prompt):
        print(f"WARNING: what {model} learned is its own voice; {voice} takes the place of it.", file=sys.stderr)
    for line in adapter.text_coverage(text).warnings():
        print(f"WARNING: {line}", file=sys.stderr)
    spoken = adapter.synthesize([text], prompt, seed)[0]
    try:
        write_wav(output, spoken.audio, spoken.sample_rate_hz)
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}): choose another place.") from error
    return spoken


def written_line(spoken: Synthesis, output: Path) -> str:
    """What to print of speech in a file."""
    ending = "" if spoken.ended else " (cut at the length limit: the model did not end by itself)"
    return f"wrote {output}: {len(spoken.audio) / spoken.sample_rate_hz:.2f} s{ending}"


def _is_recording(voice: str) -> bool:
    """Whether a voice is a recording, or one of the library with a recording: what any weights make a voice of."""
    library = VoiceLibrary()
    if voice in library:
        return library.entry(voice).ready is None
    return Path(voice).is_file() and Path(voice).suffix != ".safetensors"
