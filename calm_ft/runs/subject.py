"""What is evaluated: a run (its base and what it trained), an export, or a run's base alone.

Base and tuned model of a run are one adapter, before and after the run's weights are put in.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calm_ft.adapters.base import FitsVocabulary, TTSAdapter
from calm_ft.adapters.playing import Playing
from calm_ft.adapters.reduced import DTYPES
from calm_ft.commands import command_line
from calm_ft.config import build, build_adapter
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Strategy
from calm_ft.report.result import BASE, TUNED
from calm_ft.report.runs import EVALUATION
from calm_ft.runs.exports import adapter_for, export_dir, own_voice, run_config
from calm_ft.training.evaluation import VOICE_PROMPT
from calm_ft.training.resume import checkpoint_path, read_checkpoint, trained_weights

EVALUATION_OF_BASE = "evaluation_base"


@dataclass(frozen=True)
class Subject:
    """name: as given; run_dir: the run whose held-out sentences and base count; export: what speaks as tuned.

    Without a run there is neither a base nor a held-out list; without an export a run's own checkpoint speaks.
    """

    name: str
    run_dir: Path | None
    export: Path | None
    systems: tuple[str, ...]
    default_output: Path

    def config(self) -> dict[str, Any] | None:
        """The run's configuration."""
        return None if self.run_dir is None else run_config(self.run_dir)

    def record(self) -> dict[str, Any]:
        """The run's run.json; empty without a run. Raises UserError where it is damaged."""
        return {} if self.run_dir is None else _record(self.run_dir)

    def evaluation_folders(self) -> list[Path]:
        """Where evaluations of the run are written by default: its own, its base's and its export's."""
        if self.run_dir is None:
            return [self.default_output]
        return [self.run_dir / EVALUATION, self.run_dir / EVALUATION_OF_BASE, self.run_dir / "export" / EVALUATION]

    def prompt_file(self) -> Path | None:
        """The recording that the run's own judging was prompted with.

        Raises UserError where the run has lost it.
        """
        if self.run_dir is None:
            return None
        path = self.run_dir / VOICE_PROMPT
        if not path.is_file():
            raise UserError(f"{path} is missing, so there is no voice to speak in: pass a recording as --voice.")
        return path

    def checkpoint_step(self) -> int | None:
        """Optimizer steps behind the weights that speak as tuned, where the run's record tells."""
        step = self.record().get("checkpoint_step")
        return int(step) if isinstance(step, int) and TUNED in self.systems else None

    def base_voices_path(self) -> str | None:
        """The folder of other voices that the run's configuration names; runs made before have two names for it."""
        known = (self.config() or {}).get("evaluation", {})
        old = known.get("base_voices_path") or known.get("voices_path")
        new = known.get("base_voices")
        return new if isinstance(new, str) else old

    def saved_voice(self) -> str:
        """The voice that an export without a run comes with. Raises UserError where there is none."""
        return own_voice(str(self.export))


def find_subject(model: str, of: str | None) -> Subject:
    """A run's folder, an export's, or "base" with the run that it is the base `of`.

    Raises UserError where there is none.
    """
    if model == BASE:
        if of is None:
            raise UserError("base needs the run that it is the base of: evaluate.py base --of RUN.")
        run_config(Path(of))
        return Subject(f"base of {of}", Path(of), None, (BASE,), Path(of) / EVALUATION_OF_BASE)
    path = Path(model)
    if not path.is_dir():
        raise UserError(f"There is no folder {model}: pass a run's folder, an export's, or base with --of RUN.")
    if (path / "run.json").is_file():
        if of is not None:
            raise UserError(f"{model} is a run and has its own base: leave --of out.")
        run_config(path)
        _check_ended(path)
        checkpoint_path(path, "best")
        return Subject(model, path, None, (BASE, TUNED), path / EVALUATION)
    export = export_dir(path)
    run_dir = Path(of) if of is not None else _run_around(export)
    if run_dir is not None:
        run_config(run_dir)
    systems = (TUNED,) if run_dir is None else (BASE, TUNED)
    return Subject(model, run_dir, export, systems, export / EVALUATION)


def _record(run_dir: Path) -> dict[str, Any]:
    """A run's run.json. Raises UserError where it is damaged."""
    try:
        content = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise UserError(
            f"{run_dir / 'run.json'} is damaged, so it is not known what the run held out: put the run's own one back, "
            "or pass another run."
        )
    return content


def _check_ended(run_dir: Path) -> None:
    """Raises UserError where a run is running, was killed or failed: its weights are not those that it will end with.

    An interrupted one has saved itself, and is evaluated by its best checkpoint so far.
    """
    status = _record(run_dir).get("status")
    if status == "running":
        raise UserError(
            f"{run_dir} is still running, or was killed: wait for its end, or go on with resume=true and the same "
            "output_dir."
        )
    if status == "failed":
        raise UserError(
            f"{run_dir} failed (run.json says why): go on with resume=true and the same output_dir, or write a "
            f"checkpoint of it out with `{command_line('export')}` and pass that folder with --of {run_dir}."
        )


def _run_around(export: Path) -> Path | None:
    """The run that an export lies in."""
    parent = export.absolute().parent
    return parent if (parent / "run.json").is_file() else None


class SubjectModels:
    """The systems of a subject, all loaded and checked at once, so that nothing fails when half of them have spoken.

    Base and tuned model of a run are one adapter: what was trained is put in and taken out again.
    """

    def __init__(self, subject: Subject, device: str | None = None, quantize: bool = False) -> None:
        """Load everything.

        Args:
            device: where the systems speak, such as "cuda"; None takes a GPU where there is one.
            quantize: the systems speak with int8 weights, on the CPU.

        Raises UserError where the model, a run's checkpoint or an export cannot be loaded, there is no such device, or
        a system cannot speak with int8 weights.
        """
        self.config = subject.config()
        self._device = choose_device("cpu" if quantize and device is None else device)
        self._quantize = quantize
        self._strategy: Strategy | None = None
        self._exported: TTSAdapter | None = None
        self._weights: dict[str, Mapping[str, Tensor]] = {}
        if self.config is None:
            self.adapter = self._exported = self._ready(adapter_for(str(subject.export)))
            return
        weights = _trained(subject, self.config) if TUNED in subject.systems and subject.export is None else None
        torch.manual_seed(self.config.get("seed", 0))  # a model from scratch begins where the run's own did
        self.adapter = self._ready(build_adapter(self.config["adapter"]))
        if isinstance(self.adapter, FitsVocabulary):  # the run's base reads the same texts
            self.adapter.take_vocabulary(weights or _trained(subject, self.config))
        if weights is not None:
            self._prepare(self.config, weights)
        elif subject.export is not None:
            self._exported = self._ready(adapter_for(str(subject.export)))

    def _prepare(self, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        strategy: Strategy = build(config["strategy"])
        strategy.apply(self.adapter, lr=0.0)
        # LoRA's second factor is zero at first: merged, the base is what it was, bit for bit.
        untrained = {name: tensor.clone() for name, tensor in strategy.trainable_state(self.adapter).items()}
        strategy.load_state(self.adapter, weights)
        self.adapter.export_as(DTYPES[config.get("export", {}).get("dtype", "fp32")])
        self._strategy, self._weights = strategy, {BASE: untrained, TUNED: weights}

    def _ready(self, adapter: TTSAdapter) -> TTSAdapter:
        adapter.to(self._device).eval()
        if self._quantize:
            adapter.quantized()  # that it cannot be is said now
        return adapter

    def play_as(self, playing: Playing) -> None:
        """Let every system speak so. Raises UserError where one of them cannot."""
        for adapter in {id(each): each for each in (self.adapter, self._exported) if each is not None}.values():
            adapter.play_as(playing)

    @contextmanager
    def speaking(self, system: str) -> Iterator[TTSAdapter]:
        """The adapter that speaks as `system`; with int8 weights it is a copy, which no weights are put into."""
        with self._loaded(system) as adapter:
            yield adapter.quantized() if self._quantize else adapter

    @contextmanager
    def _loaded(self, system: str) -> Iterator[TTSAdapter]:
        if self._strategy is not None:
            self._strategy.load_state(self.adapter, self._weights[system])
            self.adapter.eval()
            with self._strategy.merged(self.adapter), self.adapter.as_exported() if system == TUNED else nullcontext():
                yield self.adapter
        else:
            assert system == BASE or self._exported is not None
            yield self.adapter if system == BASE or self._exported is None else self._exported


def _trained(subject: Subject, config: Mapping[str, Any]) -> dict[str, Tensor]:
    assert subject.run_dir is not None
    export = config.get("export", {})
    checkpoint = read_checkpoint(checkpoint_path(subject.run_dir, export.get("which", "best")), mapped=True)
    return trained_weights(checkpoint, export.get("ema", True))


def choose_device(name: str | None) -> torch.device:
    """The device of that name; None: a GPU where there is one, else the CPU.

    Raises UserError where there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--device {name} is not to be had here ({reason}): pass cpu, or leave it out.") from error
    return device
