"""The whole preparation: recordings in, a dataset out, each stage resumable from what `work/` holds.

Cutting and the making of clips run in parallel processes and are kept as soon as they are done. What looks at all clips
together (texts, duplicates, voices, splits) is done anew at every run from those rows, so that a person's edit or a new
recording needs no sound to be worked through again.
"""

import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from calm_ft.data.tokenizer import TokenReader, read_tokenizer
from calm_ft.data.utterance import printable
from calm_ft.errors import UserError
from calm_ft.metrics.base import ModelMissing
from calm_ft.preparation import dataset as folder
from calm_ft.preparation.assembly import Assembled, MadeRow, assemble, gather, words_in, write_dataset
from calm_ft.preparation.clips import PreparedClip, Problem
from calm_ft.preparation.languages import Languages, find_languages, settings_by_language
from calm_ft.preparation.making import Made, PieceJob, make_clips
from calm_ft.preparation.page.page import write_page
from calm_ft.preparation.pieces import Cut, Recording, cut, cut_from, whole
from calm_ft.preparation.reading import Listing, Shard, list_recordings
from calm_ft.preparation.results import Results, fingerprint_of, open_results
from calm_ft.preparation.sound.overlap import overlap_model
from calm_ft.preparation.tools import ClipSettings, SettingsByLanguage, check_cleaning, cleaned_path
from calm_ft.preparation.words.transcription import MOONSHINE, NONE, POCKETSPHINX
from calm_ft.preparation.workers import Crash, Workers
from calm_ft.progress import Progress

BATCH_CLIPS = 4
MANY_CLIPS = 5000  # comparing more takes seconds
MAX_NAME = 120
_MISHEARS = {
    MOONSHINE: "one word in twelve over a telephone, fewer in good sound: correct the texts on the page (--serve), or "
    "give --transcribe faster-whisper:small where its model can be had",
    POCKETSPHINX: f"most words: read the texts before you train, or give --transcribe {MOONSHINE} or "
    "faster-whisper:small",
}
"""What is said of the recognisers that come with their package (docs/results.md)."""
# Starting processes takes longer than so much sound.
ALONE_SEC = 60.0


@dataclass(frozen=True)
class Request:
    """What is asked for; see `python scripts/prepare.py --help`."""

    recordings: Path
    dataset: Path
    language: str | None = None
    transcribe: str = "auto"
    speakers: str | None = None
    format: str | None = None
    loudness_lufs: float | None = -23.0
    max_sec: float = 20.0
    clean_command: str | None = None
    aligner_model: str | None = None
    tokenizer: Path | None = None
    shard: Shard = field(default_factory=Shard)
    num_processes: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Summary:
    """What the dataset holds, what was found, and how long each stage took; `assembled` is None for a shard."""

    dataset: Path
    format_name: str
    language: str | None
    totals: dict[str, Any]
    problems: list[Problem]
    assembled: Assembled | None
    stages_sec: dict[str, float]


def prepare(request: Request, say: Callable[[str], None] = print) -> Summary:
    """Makes the dataset, or goes on where an earlier run with the same settings was ended.

    Raises:
        UserError: input or settings that cannot be used, a package that is missing, a disk that refuses.
    """
    folder.check_places(request.recordings, request.dataset)
    check_cleaning(request.clean_command)
    edits = folder.read_edits(request.dataset)
    tokenizer = None if request.tokenizer is None else read_tokenizer(request.tokenizer)
    folder.begin(request.dataset)
    try:
        with open_results(request.dataset / folder.WORK, request.shard.name) as results:
            return _Preparation(request, edits, tokenizer, results, say).run()
    except OSError as error:
        raise folder.disk_refusal(request.dataset, error) from error
    except ModelMissing as error:
        raise UserError(str(error)) from error


class _Preparation:
    """One run of the whole."""

    def __init__(
        self,
        request: Request,
        edits: folder.Edits,
        tokenizer: TokenReader | None,
        results: Results,
        say: Callable[[str], None],
    ) -> None:
        self.request = request
        self.edits = edits
        self.tokenizer = tokenizer
        self.results = results
        self.say = say
        self.stages_sec: dict[str, float] = {}
        self.heard_weakly = False
        self.languages = Languages()

    def run(self) -> Summary:
        request = self.request
        with self._stage("reading"):
            listing = list_recordings(request.recordings, request.format, request.speakers, self.results, request.shard)
            self.languages = find_languages(listing.recordings, request.language)
        language = self.languages.text(listing.recordings)
        noun = "languages" if language and "," in language else "language"
        self.say(f"{request.recordings}: {listing.format_name}, {noun} {language or 'unknown'}")
        for note in listing.notes:
            self.say(note)
        settings = self._settings(listing.recordings)
        with Workers(self._num_processes(listing.recordings)) as workers:
            with self._stage("cutting"):
                self._cut(listing.recordings, settings, workers)
            with self._stage("clips"):
                self._make(listing.recordings, settings, workers)
        if request.shard.name:
            totals = {"sec_in": _sec_in(listing)}
            return Summary(request.dataset, listing.format_name, language, totals, [], None, self.stages_sec)
        return self._finish(listing, settings)

    def _finish(self, listing: Listing, settings: SettingsByLanguage) -> Summary:
        dataset, language = self.request.dataset, self.languages.text(listing.recordings)
        with self._stage("checks"):
            rows = self._rows(listing.recordings, settings)
            found = gather(rows, self.edits)
            found.left_out += listing.left_out
            if len(found.clips) > MANY_CLIPS:
                self.say(f"comparing {len(found.clips)} clips with each other")
            assembled = assemble(found, self.edits, self.request.seed, self.heard_weakly, self.tokenizer)
        with self._stage("writing"):
            write_dataset(dataset, found, assembled, lambda clip: words_in(clip, self.results.read(f"clip {clip.id}")))
            totals = _totals(listing, assembled)
            asked = {name: _plain(value) for name, value in vars(self.request).items()}
            folder.write_prepare(dataset, {**asked, "language": language}, totals, self.stages_sec)
            if assembled.kept:
                write_page(dataset)
        if not assembled.kept:
            raise UserError(_nothing_kept(self.request, assembled))
        return Summary(dataset, listing.format_name, language, totals, assembled.problems, assembled, self.stages_sec)

    def _settings(self, recordings: Sequence[Recording]) -> SettingsByLanguage:
        request = self.request
        settings = ClipSettings(
            dataset=request.dataset.absolute(),
            language=None,
            aligner_model=request.aligner_model,
            loudness_lufs=request.loudness_lufs,
            max_sec=request.max_sec,
            clean_command=request.clean_command,
            finds_overlap=self._finds_overlap(),
        )
        found = settings_by_language(settings, request.transcribe, recordings, self.languages)
        listeners = {each.listener for each in found.values()}
        self.heard_weakly = POCKETSPHINX in listeners
        for name in sorted(listeners & set(_MISHEARS)):
            self.say(f"transcribing by {name}, which mishears {_MISHEARS[name]}")
        return found

    def _finds_overlap(self) -> bool:
        """Whether the model that tells two voices at once is there; says so where it is not."""
        try:
            overlap_model()
        except ModelMissing as missing:
            self.say(f"two people who speak at once are not looked for: {missing}")
            return False
        return True

    def _cut(self, recordings: Sequence[Recording], settings: SettingsByLanguage, workers: Workers) -> None:
        """Finds the pieces of every recording that needs it."""
        wanted = [each for each in recordings if each.needs_cutting(settings[each.language])]
        wanted = [each for each in wanted if each.text is not None or settings[each.language].listener != NONE]
        left = [each for each in wanted if not self._is_cut(each, settings[each.language])]
        total_sec = sum(each.duration_sec for each in wanted)
        with Progress("cutting", round(total_sec), unit="s", delay_sec=1.0) as bar:
            done_sec = total_sec - sum(each.duration_sec for each in left)
            bar.update(round(done_sec))
            for recording, result in workers.do(partial(cut, settings_by_language=settings), left):
                if isinstance(result, Crash):
                    result = Cut(kind="unreadable", reason="the decoder crashed or ran out of memory")
                key = _cut_key(recording, settings[recording.language])
                self.results.write(f"cut {recording.id}", key, result.as_row())
                done_sec += recording.duration_sec
                bar.update(round(done_sec) - bar.num_done)

    def _is_cut(self, recording: Recording, settings: ClipSettings) -> bool:
        """Whether its pieces are known; a text that could not be matched is tried again."""
        name = f"cut {recording.id}"
        return (
            self.results.has(name, _cut_key(recording, settings)) and self.results.read(name)["kind"] != "no_alignment"
        )

    def _make(self, recordings: Sequence[Recording], settings: SettingsByLanguage, workers: Workers) -> None:
        """Makes the clip of every piece that has none."""
        on_disk = folder.clips_on_disk(self.request.dataset)
        num_clips = sum(len(self._cut_of(each, settings[each.language]).pieces) for each in recordings)
        with Progress("clips", num_clips, unit="clip", delay_sec=1.0) as bar:

            def left() -> Iterator[PieceJob]:
                for job in self._jobs(recordings, settings):
                    if self._is_made(job, on_disk):
                        bar.update()
                    else:
                        yield job

            make = partial(make_clips, settings_by_language=settings)
            for jobs, made in workers.do(make, _batches(left())):
                if isinstance(made, Crash):
                    reason = "making its clips crashed or ran out of memory"
                    row = {"kind": "unreadable", "reason": reason, "duration_sec": None}
                    made = [Made(job.id, row) for job in jobs]
                for job, each in zip(jobs, made, strict=True):
                    if each.heard is not None:
                        self.results.write(f"heard {job.heard_from}", "", each.heard)
                    self.results.write(f"clip {job.id}", job.made_from, each.row)
                bar.update(len(jobs))

    def _is_made(self, job: PieceJob, on_disk: set[str]) -> bool:
        """Whether a row of the same fingerprint is kept, and its clip still there."""
        name = f"clip {job.id}"
        return self.results.has(name, job.made_from) and (job.file in on_disk or "kind" in self.results.read(name))

    def _cut_of(self, recording: Recording, settings: ClipSettings) -> Cut:
        if recording.text is None and settings.listener == NONE:
            return Cut(kind="no_text", reason="it has no text and was not transcribed")
        if not recording.needs_cutting(settings):
            return whole(recording)
        return cut_from(self.results.read(f"cut {recording.id}"))

    def _jobs(self, recordings: Sequence[Recording], settings_by_language: SettingsByLanguage) -> Iterator[PieceJob]:
        """The pieces of all recordings, those of one recording together."""
        for recording in recordings:
            settings = settings_by_language[recording.language]
            found = self._cut_of(recording, settings)
            path = recording.path
            if settings.clean_command is not None and found.pieces:
                path = cleaned_path(recording.digest, settings.clean_command, settings.dataset)
            for piece in found.pieces:
                is_part = len(found.pieces) > 1 or piece.start_sec > recording.start_sec
                id = f"{recording.id}@{piece.start_sec:.2f}" if is_part else recording.id
                place = (recording.digest, piece.start_sec, piece.end_sec)
                heard_from = settings.heard_fingerprint(*place)
                heard = f"heard {heard_from}"
                yield PieceJob(
                    id=id,
                    path=path,
                    file=f"{folder.CLIPS}/{file_name(id)}.flac",
                    source=recording.source,
                    speaker=recording.speaker,
                    language=recording.language,
                    piece=piece,
                    made_from=settings.clip_fingerprint(place, piece.text, recording.source, recording.speaker),
                    heard_from=heard_from,
                    heard=self.results.read(heard) if piece.text is None and self.results.has(heard, "") else None,
                )

    def _rows(self, recordings: Sequence[Recording], settings: SettingsByLanguage) -> Iterator[MadeRow]:
        """Every clip's row, and one for each recording without a clip."""
        with Progress("checking", len(recordings), delay_sec=1.0) as bar:
            for recording in recordings:
                found = self._cut_of(recording, settings[recording.language])
                of_recording = (recording.source, self.languages.of(recording), self.languages.named_for(recording))
                if not found.pieces:
                    reason = {"kind": found.kind, "reason": found.reason, "duration_sec": recording.duration_sec}
                    yield MadeRow(recording.id, *of_recording, reason)
                for job in self._jobs([recording], settings):
                    yield MadeRow(job.id, *of_recording, self.results.read(f"clip {job.id}"))
                bar.update()

    def _num_processes(self, recordings: Sequence[Recording]) -> int:
        if sum(each.duration_sec for each in recordings) < ALONE_SEC:
            return 1
        return self.request.num_processes or len(os.sched_getaffinity(0))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start_sec = time.monotonic()
        yield
        self.stages_sec[name] = time.monotonic() - start_sec


def file_name(id: str) -> str:
    """A clip's name on every file system: letters, digits and a few marks; a hash where others were replaced."""
    plain = re.sub(r"[^\w.@-]+", "_", id)[-MAX_NAME:].lstrip(".")
    return plain if plain == id else f"{plain}-{fingerprint_of(id)[:8]}"


def _batches(jobs: Iterator[PieceJob]) -> Iterator[list[PieceJob]]:
    """Neighbours together: so few that little is lost when a process ends, so many that sending costs little."""
    batch: list[PieceJob] = []
    for job in jobs:
        batch.append(job)
        if len(batch) == BATCH_CLIPS:
            yield batch
            batch = []
    if batch:
        yield batch


def _cut_key(recording: Recording, settings: ClipSettings) -> str:
    return settings.cutting_fingerprint(recording.identity())


def _sec_in(listing: Listing) -> float:
    known = sum(each.duration_sec for each in listing.recordings)
    return round(known + sum(each.duration_sec or 0.0 for each in listing.left_out), 2)


def _totals(listing: Listing, assembled: Assembled) -> dict[str, Any]:
    kept_sec = sum(clip.recorded_sec for clip in assembled.kept)
    splits = Counter(clip.split for clip in assembled.kept)
    return {
        "hours_in": round(_sec_in(listing) / 3600, 4),
        "hours_kept": round(kept_sec / 3600, 4),
        "clips": len(assembled.kept),
        "speakers": len({clip.speaker for clip in assembled.kept}),
        "left_out": sum(not each.use for each in assembled.left_out),
        "splits": dict(splits),
        **_hours_by_language(assembled.kept),
    }


def _hours_by_language(kept: Sequence[PreparedClip]) -> dict[str, dict[str, float]]:
    """How much is kept of each language; nothing where all clips are of one, or none names any."""
    sec: dict[str, float] = defaultdict(float)
    for clip in kept:
        sec[clip.named_language or "unknown"] += clip.recorded_sec
    return {"hours_by_language": {name: round(each / 3600, 4) for name, each in sec.items()}} if len(sec) > 1 else {}


def _nothing_kept(request: Request, assembled: Assembled) -> str:
    worst = assembled.problems[0] if assembled.problems else None
    why = "no recording was found"
    if worst is not None:
        example = f", such as {worst.clips[0]}: {worst.details[0]}" if worst.details else ""
        why = f"{len(worst.clips)} {worst.title}{example}; {worst.mend}"
    return f"No clip of {printable(request.recordings)} can be used: {why}."


def _plain(value: object) -> object:
    if isinstance(value, Shard):
        return value.name or None
    return value if value is None or isinstance(value, int | float) else str(value)
