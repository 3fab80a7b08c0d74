"""What a run says in words: the miniature's warning, the data, what trains, the way on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from rich.console import Console
from rich.table import Table

from calm_ft.adapters import registry
from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.text_coverage import TextReport
from calm_ft.data.utterance import Exclusion, commonest_reason, known_sec
from calm_ft.finetuning.strategy import ComponentPlan
from calm_ft.flow.precision import has_fast_bfloat16
from calm_ft.report.result import AUDIO, BASE, REFERENCE, TUNED, EvaluationResult
from calm_ft.training.datamodule import RecordingsDataModule
from calm_ft.training.experiment import Experiment
from calm_ft.training.memory import MemoryEstimate, ways_to_less_memory
from calm_ft.training.prepare import Prepared, ReadSource
from calm_ft.training.residuals import ONE_STEP_COST, RunResiduals
from calm_ft.training.settings import DataSettings

FORGETTING = 1.05  # a smaller rise lies within what another seed changes
MAX_ONE_STEP_COST = 0.05
MUCH_LOST = 0.1


def miniature_notice(config: dict[str, Any], command: Sequence[str]) -> str | None:
    """The warning for people's own recordings on a rehearsal model, with the command for a released one.

    Args:
        command: the program and the overrides by which the run was started.
    """
    return registry.miniature_notice(config["adapter"], Path(config["data"]["path"]), command)


def say(console: Console, notice: str | None) -> None:
    """Print a warning, if there is one."""
    if notice is not None:
        console.print(notice, style="bold yellow", highlight=False, soft_wrap=True)


def say_plain(console: Console, line: str) -> None:
    """One line as it is: paths are neither coloured nor wrapped."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def say_before_training(
    console: Console, experiment: Experiment, sources: Sequence[ReadSource], prepared: Prepared
) -> None:
    """What is about to happen: model, data, voice prompt, judge, what trains, what it takes on the disk."""
    say_sources(console, prepared.module.adapter.describe(), sources, experiment.data)
    say_data(console, prepared.batches, prepared.exclusions)
    say_text(console, prepared.text_report)
    protocol, rate_hz = prepared.evaluation.protocol, prepared.module.adapter.sample_rate_hz
    say_plain(console, f"voice prompt: {prepared.evaluation.prompt.line(rate_hz)}")
    if prepared.evaluation.export_voice is not None:
        say_plain(console, f"exported voice: {prepared.evaluation.export_voice.line(rate_hz)}")
    if protocol is not None:
        known = protocol.described()
        say_plain(
            console,
            f"judged on {known['num_sentences']} sentences of {known['sentences']}; speech recogniser: {known['asr']}, "
            f"language: {known['language']}",
        )
    say_components(console, prepared.plans)
    say_disk(console, prepared.plans, experiment.checkpoint.keep)


def say_device(console: Console, trainer: Trainer) -> None:
    """Where a run computes, and where numbers of another type would be faster."""
    device = trainer.strategy.root_device
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else device.type
    threads = "" if on_gpu else f", {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    processes = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
    say_plain(console, f"computes on {name}{threads}{processes}, {trainer.precision}")
    if trainer.precision == "32-true" and has_fast_bfloat16(device):
        say_plain(
            console, "trainer.precision=bf16-mixed is faster here, and changes a step less than another draw does"
        )
    if trainer.precision == "bf16-mixed" and device.type == "cpu" and not has_fast_bfloat16(device):
        say(console, "This processor has no instructions for bfloat16: trainer.precision=32-true is faster here.")


def say_memory(console: Console, estimate: MemoryEstimate, adapter: TTSAdapter, precision: str) -> None:
    """What a run will take, and a warning where its GPU has less."""
    say_plain(console, str(estimate))
    device = next(adapter.parameters()).device
    if device.type != "cuda":
        return
    free, _ = torch.cuda.mem_get_info(device)
    needed = estimate.training + estimate.largest_batch  # the weights are there already
    if needed > free:
        say(
            console,
            f"The GPU has {free / 1e9:.1f} GB left for {needed / 1e9:.1f} GB: memory will run out. Take a smaller "
            f"data.max_frames_per_batch, {ways_to_less_memory(precision)}.",
        )


def summary_of(residuals: RunResiduals, result: EvaluationResult | None) -> dict[str, Any]:
    """A run's final figures for trackers: means by system, and residuals."""
    systems = {} if result is None else result.systems
    means = {
        system: {name: each.mean for name, each in summary.metrics.items() if each.mean is not None}
        for system, summary in systems.items()
    }
    return {"evaluation": means, "residuals": residuals.described()}


def say_residuals(console: Console, rows: Mapping[str, Mapping[str, float]]) -> None:
    """The residuals of a run in which nothing was spoken."""
    for title, values in rows.items():
        say_plain(console, f"{title}: " + ", ".join(f"{system} {value:.3f}" for system, value in values.items()))


def say_loudly(console: Console, warnings: Sequence[str]) -> None:
    """What went wrong and must not be overlooked: the last lines of a run."""
    for warning in warnings:
        console.print(f"WARNING: {warning}", style="bold red", highlight=False, soft_wrap=True, markup=False)


def say_sources(console: Console, model: str, sources: Sequence[ReadSource], data: DataSettings) -> None:
    """The model, and where every source's recordings lie, in which format."""
    settings = data.named_sources()
    for source in sources:
        path, name = settings[source.name].path, source.recordings.format_name
        speakers = len({each.speaker for each in source.recordings.utterances})
        what = f"{model} on" if source is sources[0] else f"beside it, at weight {source.weight:g}, {source.name}:"
        several = f", {speakers} speakers" if speakers > 1 else ""
        say_plain(console, f"{what} {path} ({name}{several})")
        for note in source.recordings.notes:
            say_plain(console, f"note: {note}")


def say_text(console: Console, report: TextReport) -> None:
    """What of the texts reaches no model, if anything."""
    for line in report.lines():
        console.print(line, style="yellow", highlight=False, soft_wrap=True, markup=False)


def say_data(console: Console, batches: RecordingsDataModule, exclusions: list[Exclusion]) -> None:
    """How much trains, how much validates, what was left out."""

    def minutes(clips: list[Any]) -> str:
        return f"{len(clips)} clips, {sum(clip.duration_sec for clip in clips) / 60:.1f} min"

    replayed = f"; replay: {minutes(batches.replay_clips)}" if batches.replay_clips else ""
    console.print(
        f"train: {minutes(batches.train_clips)}; validation: {minutes(batches.validation_clips)}{replayed}",
        highlight=False,
    )
    if exclusions:
        lost = f" ({known_sec(exclusions) / 60:.1f} min)" if known_sec(exclusions) else ""
        console.print(
            f"left out: {len(exclusions)}{lost}, named in excluded.jsonl; commonest reason: "
            f"{commonest_reason(exclusions)}",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if batches.pool.num_without_prompt:
        console.print(
            f"{batches.pool.num_without_prompt} clips are their speaker's only one and train without a voice prompt",
            style="yellow",
        )


def lost_minutes(batches: RecordingsDataModule, exclusions: list[Exclusion]) -> list[str]:
    """A warning where much of the recordings did not train."""
    used = [*batches.train_clips, *batches.validation_clips, *batches.replay_clips]
    lost_sec = known_sec(exclusions)
    whole_sec = lost_sec + sum(clip.duration_sec for clip in used)
    if lost_sec < MUCH_LOST * whole_sec:
        return []
    longest = max(exclusions, key=lambda each: each.duration_sec or 0.0)
    return [
        f"{lost_sec / 60:.1f} of {whole_sec / 60:.1f} minutes of the recordings were left out, the most of them in "
        f"{longest.path} ({longest.reason}). excluded.jsonl names them all."
    ]


def say_components(console: Console, plans: Sequence[ComponentPlan]) -> None:
    """A table: component, parameters, trained or frozen, rate."""
    table = Table(title="components")
    for heading in ("component", "parameters", "trains", "learning rate"):
        table.add_column(heading, justify="left" if heading == "component" else "right")
    for plan in plans:
        some = "yes" if plan.num_trained == plan.num_parameters else f"{plan.num_trained:,} beside"
        trains, rate, style = ("no", "-", "dim") if plan.lr is None else (some, f"{plan.lr:g}", "bold")
        table.add_row(plan.name, f"{plan.num_parameters:,}", trains, rate, style=style)
    total = sum(plan.num_parameters for plan in plans)
    trained = sum(plan.num_trained for plan in plans)
    table.add_section()
    table.add_row("all", f"{total:,}", f"{trained:,}", f"{100 * trained / total:.1f} %")
    console.print(table)


def say_disk(console: Console, plans: Sequence[ComponentPlan], num_kept: int) -> None:
    """What the checkpoints will take: weights, average and two moments, each in four bytes."""
    megabytes = 16 * sum(plan.num_trained for plan in plans) / 1e6
    say_plain(
        console,
        f"a checkpoint takes about {megabytes:.0f} MB; at most {num_kept + 1} are kept (checkpoint.keep={num_kept} "
        f"and the best): {(num_kept + 1) * megabytes:.0f} MB",
    )


def say_steps(console: Console, num_steps: int, max_steps: int) -> None:
    """Whether training ended before its last step."""
    if num_steps < max_steps:
        say_plain(console, f"stopped early, after {num_steps} of {max_steps} steps")


def say_result(
    console: Console, adapter: TTSAdapter, output_dir: Path, training_sec: float, checkpoint: str, step: int
) -> None:
    """Which weights they are, where things lie, how much disk they take, how to play them with the stock package."""
    shown = _from_here(output_dir)
    saved_mb = disk_use(output_dir / "checkpoints") / 1e6
    say_plain(
        console,
        f"trained in {training_sec:.0f} s; export: {shown}/export ({checkpoint}, step {step}), "
        f"samples and pictures: {shown}/samples; checkpoints take {saved_mb:.0f} MB\n"
        f"{adapter.how_to_play(shown / 'export')}",
    )


def say_where_to_listen(console: Console, output_dir: Path) -> None:
    """One sentence by the tuned model, by the base and as it was recorded; nothing where no sentence was spoken."""
    for tuned in sorted((output_dir / "evaluation" / AUDIO).glob(f"{TUNED}_*.wav"))[:1]:
        others = [tuned.name.replace(TUNED, system, 1) for system in (BASE, REFERENCE)]
        say_plain(console, f"listen: {_from_here(tuned)}, and beside it {others[0]} and {others[1]} (the recording)")


def _from_here(path: Path) -> Path:
    """The path as it is typed in the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def say_forgetting(console: Console, base_residuals: Mapping[str, Mapping[str, float]], replayed: bool) -> None:
    """What tuning did to the base voices' residual, and the way to keep it, where it rose without replay."""
    if not {"base", "tuned"} <= base_residuals.keys():
        return
    before, after = base_residuals["base"]["residual"], base_residuals["tuned"]["residual"]
    if after > FORGETTING * before and not replayed:
        say_plain(
            console,
            f"other voices were forgotten (their residual rose from {before:.3f} to {after:.3f}): good for a copy that "
            "speaks in one voice; to keep the others, mix recordings of them in, data=replay",
        )


def say_one_step_cost(console: Console, validation: Mapping[str, Mapping[str, float]]) -> None:
    """What one flow step costs the tuned model, where that is much and more than it cost the base; and the ways out."""
    tuned = validation.get("tuned", {}).get(ONE_STEP_COST, 0.0)
    base = validation.get("base", {}).get(ONE_STEP_COST, 0.0)
    if tuned > max(MAX_ONE_STEP_COST, base):
        say(
            console,
            f"one flow step gives latents that score {tuned:.1%} worse than those of many (base: {base:.1%}): play "
            "with --num-steps 2 or more, or train with a larger objective.lsd_weight",
        )


def disk_use(folder: Path) -> int:
    """Bytes of a folder's files, those with two names once."""
    stats = {(stat.st_dev, stat.st_ino): stat.st_size for stat in (path.stat() for path in folder.glob("*"))}
    return sum(stats.values())
