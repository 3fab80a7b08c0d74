"""Tables of columns, parquet or Arrow, read a few rows at a time from a disk, or from what can be read like a file.

Of a parquet file only the asked columns are read, and of those one page after another: neither a table nor one of its
row groups is ever in memory whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from calm_ft.errors import UserError

SUFFIXES = (".parquet", ".arrow")
NUM_ROWS_IN_MEMORY = 16
READ_AHEAD_BYTES = 8 * 2**20

Row = dict[str, Any]


class ColumnTable(ABC):
    """An open table.

    Attributes:
        name: for people.
        names: its columns.
        sounds: those of them that hold sound as the hub's `Audio` feature stores it, a struct of `bytes` and `path`.
        num_rows: None where only reading to the end would tell.
    """

    def __init__(self, name: str, schema: Any, num_rows: int | None) -> None:
        self.name = name
        self.names: list[str] = list(schema.names)
        self.sounds = [name for name in self.names if {"bytes", "path"} <= _fields(schema.field(name).type)]
        self.num_rows = num_rows

    def batches(self, columns: Sequence[str], num_skipped: int = 0) -> Iterator[list[Row]]:
        """The rows after the first `num_skipped`, at most `NUM_ROWS_IN_MEMORY` at a time.

        Raises:
            UserError: the table is damaged.
            OSError: it cannot be read to the end.
        """
        import pyarrow

        num_left, batches = self._skip(columns, num_skipped)
        try:
            for batch in batches:
                skipped = min(num_left, batch.num_rows)
                num_left -= skipped
                for first in range(skipped, batch.num_rows, NUM_ROWS_IN_MEMORY):
                    yield batch.slice(first, NUM_ROWS_IN_MEMORY).select(list(columns)).to_pylist()
        except pyarrow.ArrowException as error:
            raise unreadable(self.name, error) from None

    @abstractmethod
    def _skip(self, columns: Sequence[str], num_skipped: int) -> tuple[int, Iterator[Any]]:
        """Batches from a place at or before that row on, and how many rows of them are still to be skipped."""


class _Parquet(ColumnTable):
    def __init__(self, parquet: Any, source: Path | BinaryIO, name: str) -> None:
        self._file = parquet.ParquetFile(source, buffer_size=READ_AHEAD_BYTES)
        super().__init__(name, self._file.schema_arrow, self._file.metadata.num_rows)

    def _skip(self, columns: Sequence[str], num_skipped: int) -> tuple[int, Iterator[Any]]:
        groups = list(range(self._file.num_row_groups))
        while groups and num_skipped >= (num_rows := self._file.metadata.row_group(groups[0]).num_rows):
            num_skipped -= num_rows
            del groups[0]
        return num_skipped, self._file.iter_batches(NUM_ROWS_IN_MEMORY, row_groups=groups, columns=list(columns))


class _Arrow(ColumnTable):
    """`save_to_disk` writes streams; other writers of Arrow write files with an index at their end."""

    def __init__(self, pyarrow: Any, source: Path | BinaryIO, name: str) -> None:
        file = pyarrow.memory_map(str(source)) if isinstance(source, Path) else source
        try:
            reader = pyarrow.ipc.open_stream(file)
            self._batches = iter(reader)
        except pyarrow.ArrowInvalid:
            file.seek(0)
            reader = pyarrow.ipc.open_file(file)
            self._batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        super().__init__(name, reader.schema, None)

    def _skip(self, columns: Sequence[str], num_skipped: int) -> tuple[int, Iterator[Any]]:
        return num_skipped, self._batches


def open_table(source: Path | BinaryIO, name: str) -> ColumnTable:
    """Opens the table by the suffix of its name.

    Raises:
        UserError: pyarrow is not installed, or the file is no such table.
        OSError: the source cannot be read.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{name} needs pyarrow, which is not installed; install the extra `preparation`.") from None
    try:
        if name.lower().endswith(".parquet"):
            return _Parquet(pyarrow.parquet, source, name)
        return _Arrow(pyarrow, source, name)
    except pyarrow.ArrowException as error:
        raise unreadable(name, error) from None


def unreadable(name: str, error: Exception) -> UserError:
    """One sentence for a table that is damaged or none."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return UserError(f"{name} cannot be read: {reason.rstrip('.')}.")


def _fields(kind: Any) -> set[str]:
    return {kind.field(number).name for number in range(kind.num_fields)} if str(kind).startswith("struct") else set()
