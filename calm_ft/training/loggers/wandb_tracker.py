"""wandb: a run that is continued when training is resumed, with nothing kept outside of the run's folder.

wandb never asks for a login: without one (no WANDB_API_KEY, no entry in netrc) it runs offline. wandb reads keys from
its own places; they never pass through a configuration. wandb does not collect the working tree, since a patch of
uncommitted changes could hold a key; the commit is among the run's facts.

A resumed run keeps its id. Online, the server continues it. Offline, each stretch of the run leaves its own folder
`wandb/offline-run-<time>-<id>`, the later ones marked as continuations; `wandb sync RUN/wandb/offline-run-*` uploads
them in the order of their start, as one run.

wandb's own step is the number of optimizer steps done: media panels get a slider by step, and figures that are logged
at the same step are one row. Steps that are repeated after a resume have equal figures. Online they are skipped, since
the server has them; offline both stretches hold them.

Scored sentences are one table, `evaluation/sentences`, to which each evaluation adds its rows (wandb's incremental
mode: one file an addition, all of them shown together). After a resume wandb remembers the earlier additions online;
offline it cannot, so the later stretch starts with the earlier rows.
"""

import netrc
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from calm_ft.errors import UserError
from calm_ft.report.picture import spectrogram_pixels
from calm_ft.training.loggers.metrics_csv import LoggerSettings, ResumedLogs
from calm_ft.training.loggers.sentences import SentenceRow
from calm_ft.training.loggers.tracker import Tracker, flat

STEP_METRIC = "trainer/global_step"
TABLE = "evaluation/sentences"
COLUMNS = ("system", "step", "sentence", "text", "audio", "spectrogram")


class WandbSettings(LoggerSettings):
    """wandb beside the CSV file."""

    def __init__(self, project: str, group: str | None = None, log_model: bool = True) -> None:
        """Settings.

        Args:
            project: as in wandb.
            group: the runs of a sweep share one; None for a run by itself.
            log_model: whether the export becomes an artifact, which wandb uploads when online.
        """
        self.project = project
        self.group = group
        self.log_model = log_model

    def _others(self, output_dir: Path, described: dict[str, Any], resumed: ResumedLogs | None) -> list[Tracker]:
        run_id = None if resumed is None else resumed.tracker_ids.get("wandb")
        return [begin_wandb(output_dir, described, self.project, self.group, run_id, self.log_model)]


class WandbTracker(Tracker, WandbLogger):
    """Lightning's logger over a run that has begun, with wandb's step in ours."""

    key = "wandb"

    def __init__(self, run: Any, log_model: bool) -> None:
        super().__init__(experiment=run)
        self._logs_model = log_model
        self._table: Any = None

    @property
    def run_id(self) -> str:
        return self.experiment.id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """One row a step; what belongs to a step that wandb has closed is left out."""
        assert step is not None
        if step >= self.experiment.step:
            self.experiment.log({**metrics, STEP_METRIC: step}, step=step)

    @rank_zero_only
    def log_media(self, step: int, audio: Mapping[str, Path], pictures: Mapping[str, Path]) -> None:
        import wandb

        media: dict[str, Any] = {name: wandb.Audio(str(path)) for name, path in audio.items()}
        media |= {name: wandb.Image(str(path)) for name, path in pictures.items()}
        self.log_metrics({}, step)  # wandb names media files by its step, which begins with a row's first figure
        self.log_metrics(media, step)

    @rank_zero_only
    def log_sentences(self, step: int, rows: Sequence[SentenceRow]) -> None:
        """Add rows with their audio and spectrograms, unless wandb has closed the step and so has them."""
        if step < self.experiment.step or not rows:
            return
        self._add(rows)
        self.log_metrics({}, step)  # as for media
        self.log_metrics({TABLE: self._table}, step)

    @rank_zero_only
    def restore_sentences(self, rows: Sequence[SentenceRow]) -> None:
        """They go out with the next rows, unless wandb has them from the server."""
        if not self.experiment.resumed:
            self._add(rows)

    def _add(self, rows: Sequence[SentenceRow]) -> None:
        import wandb

        for row in rows:
            if self._table is None:
                self._table = wandb.Table(columns=[*COLUMNS, *row.figures], log_mode="INCREMENTAL")
            samples, rate_hz = soundfile.read(row.audio)
            media = wandb.Audio(str(row.audio)), wandb.Image(spectrogram_pixels(samples, rate_hz))
            self._table.add_data(row.system, row.step, row.sentence, row.text, *media, *row.figures.values())

    @rank_zero_only
    def log_export(self, export_dir: Path, name: str) -> None:
        """The export's files as an artifact, by reference to where they are: wandb would copy them.

        So offline they must still be there when the run is synced.
        """
        if not self._logs_model:
            return
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^a-zA-Z0-9_.-]", "_", name)[-128:], type="model")
        artifact.add_dir(str(export_dir), policy="immutable", skip_cache=True)
        self.experiment.log_artifact(artifact)

    @rank_zero_only
    def log_summary(self, figures: Mapping[str, Any]) -> None:
        self.experiment.summary.update(flat(figures))

    @rank_zero_only
    def close(self) -> None:
        self.experiment.finish()


def begin_wandb(
    output_dir: Path, config: dict[str, Any], project: str, group: str | None, run_id: str | None, log_model: bool
) -> WandbTracker:
    """A wandb run named like the folder, or the one with `run_id` again.

    Raises UserError where it cannot begin: a key that is refused, no connection.
    """
    _keep_wandb_below(output_dir)
    import wandb
    import wandb.apis.public  # init imports it too, but from deep in its calls, which takes its models twice the time

    try:
        run = wandb.init(
            project=project,
            name=output_dir.name,
            group=group,
            dir=str(output_dir),
            config=config,
            id=run_id,
            resume=None if run_id is None else "allow",
            mode=_wandb_mode(),
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True, save_code=False),
        )
    except wandb.Error as error:
        raise UserError(
            f"wandb cannot begin a run ({' '.join(str(error).split())[:160]}): mend the login or connection, "
            "or set WANDB_MODE=offline, or choose logger=csv."
        ) from error
    run.define_metric(STEP_METRIC)
    run.define_metric("*", step_metric=STEP_METRIC, step_sync=True)
    return WandbTracker(run, log_model)


def _keep_wandb_below(output_dir: Path) -> None:
    """Its caches and logs too, which would lie in the home folder; quiet, for the run says what is to be said.

    Its one background process serves all jobs of a sweep and keeps the first one's folders.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("CACHE", "CONFIG", "DATA"):
        os.environ.setdefault(f"WANDB_{name}_DIR", str(output_dir / "wandb" / name.lower()))


def _wandb_mode() -> Any:
    """What WANDB_MODE says, else offline unless there is a login."""
    return os.environ.get("WANDB_MODE") or ("online" if _has_wandb_login() else "offline")


def _has_wandb_login() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
