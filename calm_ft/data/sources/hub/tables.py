"""Reads data sets of the Hugging Face hub without a copy of their tables on the disk.

Of each table only the needed columns are asked for, a few MB at a time (`HfFileSystem` reads by HTTP ranges), and each
clip is written to the cache as soon as its row is there. A journal beside the clips lists the rows that were read: an
interrupted download goes on in the row group where it was, and a second reading asks the hub for the names of the files
alone. The package `datasets` streams too, by the same two libraries; it is not needed beside them, and would bring many
others.
"""

import math
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from filelock import FileLock

from calm_ft.atomic_file import is_disk_fault
from calm_ft.data.sources.clip_cache import cache_refusal, clip_cache
from calm_ft.data.sources.column_tables import READ_AHEAD_BYTES, ColumnTable, open_table
from calm_ft.data.sources.finding_audio import USUAL_FOLDERS
from calm_ft.data.sources.hub.journal import Journal
from calm_ft.data.sources.hub.sets import HubName, HubSet, choose_tables, look_up
from calm_ft.data.sources.hugging_face import HuggingFaceTables, StoredRow, add_rows, columns_of, kept_row
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.utterance import UnusableClip
from calm_ft.errors import UserError
from calm_ft.hub_faults import hub_faults
from calm_ft.progress import Progress

BYTES_PER_MB = 1_000_000
NUM_CONNECTIONS = 8
# Of a set of single files, what no reader of recordings opens.
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def read_from_hub(path: Path) -> Recordings | Path:
    """The recordings of a set of tables; of a set of single files, the folder in the hub's cache that now holds them.

    Raises:
        UserError: there is no such set or part, it cannot be had, or the disk is full.
    """
    name = HubName.parse(path)
    found = _look_up(name)
    if isinstance(found, Path):
        return found
    if not found.tables:
        return _fetch_files(found, name)
    recordings = Recordings(HuggingFaceTables.name, f"Hugging Face data set {name.repo}")
    for table, rows in _Tables(found, name).read():
        add_rows(recordings, table, rows, f"{name}/{table}")
    return recordings


def _look_up(name: HubName) -> HubSet | Path:
    """The set, by the list of its files that was kept where the hub is out of reach; or a copy in the hub's cache."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    kept = clip_cache() / "hub" / f"{name.file_name}.json"
    with _faults(name):
        try:
            found = look_up(name)
        except (UserError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError):
            raise
        except Exception:  # no connection, or a hub that does not answer: many kinds, which change between versions
            before = HubSet.load(kept) or _copy_in_cache(name)
            if before is None:
                raise
            return before
    found.save(kept)
    return found


def _copy_in_cache(name: HubName) -> Path | None:
    """What `hf download` left in the hub's own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        root = snapshot_download(name.repo, repo_type="dataset", revision=name.revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    part = Path(root) / name.part
    return part if part.exists() and name.num_rows is None else None


def _faults(name: HubName) -> AbstractContextManager[None]:
    way_out = (
        f"download it elsewhere (hf download {name.repo} --repo-type dataset --local-dir FOLDER) and give the folder; "
        "clips that are there are kept, and the same command goes on from there"
    )
    return hub_faults(str(name), f"datasets/{name.repo}", way_out, "recordings")


class _Tables:
    """The tables of a set that were asked for.

    Raises:
        UserError: there is no such part.
    """

    def __init__(self, found: HubSet, name: HubName) -> None:
        self.found = found
        self.name = name
        self.chosen = choose_tables(found, name)
        self.journals = {table: Journal.of(found, table) for table in self.chosen}
        self.audio = frozenset(found.audio)

    def read(self) -> Iterator[tuple[str, list[StoredRow]]]:
        """The rows of each table, from its journal, and what is not there yet from the hub."""
        limit = self.name.num_rows
        for journal in self.journals.values():
            journal.load()
        with self._progress() as bar, ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
            for table, journal in self.journals.items():
                self._read_on(table, limit, bar, pool)
                rows = journal.rows[:limit]
                limit = None if limit is None else limit - len(rows)
                yield table, rows
                if limit == 0:
                    return

    def _progress(self) -> Progress:
        """In clips where so many are asked for, else in MB; what is there already is not counted."""
        title = f"downloading {self.name.repo}"
        if self.name.num_rows is not None:
            there = sum(len(journal.rows) for journal in self.journals.values())
            return Progress(title, max(0, self.name.num_rows - there), unit="clip")
        left = [table for table, journal in self.journals.items() if not journal.is_complete]
        return Progress(f"{title}, MB", sum(map(self._num_mb, left)), unit="MB")

    def _read_on(self, table: str, limit: int | None, bar: Progress, pool: ThreadPoolExecutor) -> None:
        """Reads the rows that the journal lacks, up to the limit, each with its clip."""
        journal = self.journals[table]
        if journal.has(limit):
            return
        with FileLock(journal.lock_path):  # another process may read the same set, and is let do it
            journal.load()
            if journal.has(limit):
                return
            with _faults(self.name):
                for num_read, share in self._copy(table, journal, pool):
                    bar.update(num_read if self.name.num_rows is not None else share)
                    if journal.has(limit):
                        return
            journal.end()

    def _copy(self, table: str, journal: Journal, pool: ThreadPoolExecutor) -> Iterator[tuple[int, int]]:
        """Copies batches into the journal; gives the number of rows of each, and how many MB of the table they are."""
        opened = self._open(table)
        columns = columns_of(opened)
        num_mb, before = self._num_mb(table), 0
        for batch in opened.batches(columns.names, len(journal.rows)):
            rows = list(pool.map(lambda row: kept_row(row, columns, lambda each: self._audio(each, table)), batch))
            journal.append(rows)
            now = num_mb * len(journal.rows) // opened.num_rows if opened.num_rows else 0
            yield len(rows), now - before
            before = now
        yield 0, num_mb - before

    def _num_mb(self, table: str) -> int:
        return math.ceil(self.found.files[table].num_bytes / BYTES_PER_MB)

    def _open(self, table: str) -> ColumnTable:
        from huggingface_hub import HfFileSystem, try_to_load_from_cache

        name, commit = f"{self.name}/{table}", self.found.commit
        cached = try_to_load_from_cache(self.found.repo, table, revision=commit, repo_type="dataset")
        if isinstance(cached, str):
            return open_table(Path(cached), name)
        path = f"datasets/{self.found.repo}@{commit}/{table}"
        kind = "none" if table.lower().endswith(".parquet") else "readahead"  # pyarrow reads ahead in parquet alone
        size = self.found.files[table].num_bytes
        file = HfFileSystem().open(path, "rb", block_size=READ_AHEAD_BYTES, cache_type=kind, size=size)
        return open_table(cast(BinaryIO, file), name)

    def _audio(self, named: str, table: str) -> Path:
        """The file that a row names by its path in the set, downloaded unless it is there."""
        folder = PurePosixPath(table).parent
        for parent in (folder, *folder.parents):
            for place in USUAL_FOLDERS:
                path = posixpath.normpath(posixpath.join(parent.as_posix(), place, named.strip().replace("\\", "/")))
                if path in self.audio:
                    return _download(self.found, path)
        raise UnusableClip(f"there is no audio file '{named}' in the set" if named else "the row names no audio file")


def _fetch_files(found: HubSet, name: HubName) -> Path:
    """Downloads a set of single files, or one folder of it, without archives and without what is there already."""
    wanted = [each for each in found.files if each.startswith(f"{name.part}/" if name.part else "")]
    if not wanted or name.num_rows is not None:
        folders = sorted({each.partition("/")[0] for each in found.files if "/" in each})
        raise UserError(
            f"{name} is a set of single files; of such a set a folder can be taken, with /FOLDER behind the name, "
            f"found {', '.join(folders) or 'none'}."
        )
    wanted = [each for each in wanted if not each.lower().endswith(ARCHIVES)]
    num_mb = [round(each / BYTES_PER_MB) for each in accumulate(found.files[each].num_bytes for each in wanted)]
    with (
        _faults(name),
        ThreadPoolExecutor(NUM_CONNECTIONS) as pool,
        Progress(f"downloading {name.repo}, MB", num_mb[-1], unit="MB", delay_sec=1.0) as bar,
    ):
        folder = Path()
        for file, mb, path in zip(wanted, num_mb, pool.map(partial(_download, found), wanted), strict=True):
            bar.update(mb - bar.num_done)
            folder = path.parents[file.count("/")] / name.part
    return folder


def _download(found: HubSet, file: str) -> Path:
    """A file in the hub's cache; raises UserError where the disk is full."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    try:
        with disable_progress_bars():
            return Path(hf_hub_download(found.repo, file, repo_type="dataset", revision=found.commit))
    except OSError as error:
        raise cache_refusal(error) if is_disk_fault(error) else error from error
