"""What a run says in words: the miniature's warning, the data, the way on."""

from pathlib import Path
from typing import Any

from rich.console import Console

from calm_ft.data.utterance import Exclusion, commonest_reason
from calm_ft.training.lit_datamodule import Recordings

ASSETS = Path(__file__).parents[1] / "assets"


def miniature_notice(config: dict[str, Any]) -> str | None:
    """The warning for people's own recordings on the embedded miniature, with the command for the released model."""
    data_path = Path(config["data"]["path"]).absolute()
    on_nano = Path(str(config["adapter"].get("model"))).absolute() == ASSETS / "nano"
    if not on_nano or data_path.is_relative_to(ASSETS):
        return None
    return (
        "WARNING: this is the embedded miniature (adapter=nano), trained on synthetic speech; it will not speak in your "
        f"voice. For the released model: python scripts/train.py experiment={config['experiment_name']} "
        f"adapter=pocket_tts adapter.model=english_2026-10 data.path={config['data']['path']}"
    )


def say(console: Console, notice: str | None) -> None:
    """Print a warning, if there is one."""
    if notice is not None:
        console.print(notice, style="bold yellow", highlight=False, soft_wrap=True)


def say_data(console: Console, batches: Recordings, exclusions: list[Exclusion]) -> None:
    """How much trains, how much validates, what was left out."""

    def minutes(clips: list[Any]) -> str:
        return f"{len(clips)} clips, {sum(clip.duration_sec for clip in clips) / 60:.1f} min"

    console.print(f"train: {minutes(batches.train_clips)}; validation: {minutes(batches.validation_clips)}", highlight=False)
    if exclusions:
        console.print(
            f"left out: {len(exclusions)} (all named in excluded.jsonl; commonest reason: {commonest_reason(exclusions)})",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if batches.pool.num_without_prompt:
        console.print(
            f"{batches.pool.num_without_prompt} clips are the only one of their speaker and train without a voice prompt",
            style="yellow",
        )


def say_result(console: Console, output_dir: Path, training_sec: float) -> None:
    """Where things lie and how to play them with the stock package."""
    shown = output_dir.relative_to(Path.cwd()) if output_dir.is_relative_to(Path.cwd()) else output_dir
    console.print(
        f"trained in {training_sec:.0f} s; export: {shown}/export, samples and pictures: {shown}/samples\n"
        f'pocket-tts generate --config {shown}/export/config.yaml --voice {shown}/export/voice.safetensors '
        '--text "Hello there." --output-path hello.wav',
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
