"""What can be done with a finished run or an export: write it out again, move it, publish it, let it speak."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from calm_ft.adapters.base import Synthesis, TTSAdapter
from calm_ft.adapters.hub import check_repo_name, upload
from calm_ft.adapters.pocket_tts.export import push_to_hub, relocate
from calm_ft.config import build, compose_config, plain
from calm_ft.errors import UserError
from calm_ft.finetuning.lora_file import merge_lora_file
from calm_ft.finetuning.strategy import Strategy
from calm_ft.metrics.audio_io import write_wav
from calm_ft.training.resume import checkpoint_path, read_checkpoint, trained_weights

VOICE_PROMPT = Path("samples") / "voice_prompt.wav"
# The files by which an export's system is known, and the voice that comes with it.
POCKET_TTS_SIGNS, CHATTERBOX_SIGNS = ("config.yaml", "model.safetensors"), ("t3_cfg.safetensors",)
VOICES = ("voice.safetensors", "conds.pt")
CHATTERBOX_NAMES = ("chatterbox", "ResembleAI/chatterbox")


def export_run(run_dir: Path, which: str, averaged: bool, output_dir: Path | None) -> Path:
    """Export a run's checkpoint (by default its averaged weights) to `output_dir`, or RUN/export; returns the folder.

    Raises UserError where the folder is not a run, its checkpoint is damaged or its voice prompt is gone.
    """
    config = run_config(run_dir)
    checkpoint = read_checkpoint(checkpoint_path(run_dir, which))  # before the model, which takes longer to load
    prompt = run_dir / VOICE_PROMPT
    if not prompt.is_file():
        raise UserError(f"{prompt} is missing, so the export would have no voice: put a recording of the voice there.")
    adapter: TTSAdapter = build(config["adapter"])
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
    """An export's folder, given itself or its run.

    Raises UserError where neither holds an export.
    """
    for candidate in (path, path / "export"):
        if _holds(candidate, POCKET_TTS_SIGNS) or _holds(candidate, CHATTERBOX_SIGNS):
            return candidate
    raise UserError(
        f"{path} holds no export: pass a run or an export, or write one with `python scripts/export.py RUN`."
    )


def _holds(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / name).is_file() for name in names)


def relocate_export(path: Path) -> Path:
    """Write an export's present place into its config, after a move (a Chatterbox names none); returns its folder."""
    directory = export_dir(path)
    if not _holds(directory, CHATTERBOX_SIGNS):
        relocate(directory)
    return directory


def push_export(path: Path, repo: str) -> str:
    """Upload an export; returns what `adapter.model=` takes of it: hf:// path of its config, or the repository."""
    directory = export_dir(path)
    if not _holds(directory, CHATTERBOX_SIGNS):
        return push_to_hub(directory, repo)
    check_repo_name(repo)
    upload(directory, repo)
    return repo


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
    """The adapter of an export, a run's export, or whatever `adapter.model=` takes."""
    directory = export_dir(Path(model)) if Path(model).is_dir() else None
    if model in CHATTERBOX_NAMES or (directory is not None and _holds(directory, CHATTERBOX_SIGNS)):
        settings = plain(compose_config(["experiment=chatterbox_t3"]))["adapter"]
        settings["local_dir"] = None if directory is None else str(directory)
    else:
        settings = plain(compose_config(["adapter=pocket_tts"]))["adapter"]
        settings["model"] = model if directory is None else str(directory)
    return build(settings)


def own_voice(model: str) -> str:
    """The voice that an export comes with. Raises UserError where there is none."""
    folder = export_dir(Path(model)) if Path(model).is_dir() else None
    own = [] if folder is None else [folder / name for name in VOICES if (folder / name).is_file()]
    if own:
        return str(own[0])
    raise UserError(f"{model} comes without a voice: pass --voice with a recording, or an upstream voice's name.")


def synthesize_to_file(
    model: str,
    text: str,
    voice: str | None,
    output: Path,
    seed: int,
    temperature: float | None,
    num_steps: int | None,
    lora: Path | None = None,
) -> Synthesis:
    """Speak a text into a wav file, with a LoRA file folded into the model where one is given.

    Raises UserError for an empty text, a model or voice that is not there, and settings out of range.
    """
    if temperature is not None and temperature < 0:
        raise UserError(f"--temperature {temperature} cannot be negative.")
    if num_steps is not None and num_steps < 1:
        raise UserError(f"--num-steps {num_steps} must be at least 1.")
    adapter = adapter_for(model)
    adapter.check_text(text)
    if lora is not None:
        merge_lora_file(adapter, lora)
    voice = voice or own_voice(model)
    if lora is not None and (not Path(voice).is_file() or Path(voice).suffix == ".safetensors"):
        raise UserError(
            f"The voice {voice} is a state of the base model's weights and does not fit them with --lora: pass --voice "
            "with a recording."
        )
    spoken = adapter.synthesize([text], adapter.load_voice(voice), seed, temperature, num_steps)[0]
    try:
        write_wav(output, spoken.audio, spoken.sample_rate_hz)
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}): choose another place.") from error
    return spoken
