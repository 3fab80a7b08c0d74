"""Data sets on the Hugging Face hub: how they are named, which files they hold, and which of those are asked for.

A name is `hf://datasets/OWNER/NAME`, with `@REVISION` and a part behind it where wished: `/CONFIGURATION/SPLIT`, either
of them alone, or a folder or file of the set, and last `[:1000]` for so many rows. Configurations are what the set's
card (README.md) lists under `configs`, else the folders of the branch in which the hub keeps every set as parquet.

Sources: huggingface.co/docs/hub/datasets-manual-configuration, /datasets-file-names-and-splits, /datasets-viewer.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import write_text
from calm_ft.data.sources.clip_cache import cache_refusal
from calm_ft.data.sources.finding_audio import is_audio
from calm_ft.data.sources.hugging_face import is_table
from calm_ft.data.utterance import printable
from calm_ft.errors import UserError

PREFIXES = ("hf://datasets/", "hf:/datasets/", "datasets:")
PARQUET_BRANCH = "refs/convert/parquet"
MAX_NAMED = 20
_NAME = re.compile(r"([^/@\[\]]+/[^/@\[\]]+)(?:@(refs/[^/]+/[^/]+|[^/\[]+))?(?:/([^\[]*))?(?:\[:(\d+)\])?")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")

Configurations = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class HubName:
    """What was asked for.

    Attributes:
        part: the configuration, split or folder; empty for the whole.
        num_rows: None for all of them.
    """

    repo: str
    revision: str | None
    part: str
    num_rows: int | None

    @classmethod
    def parse(cls, path: Path) -> "HubName":
        """From hf://datasets/OWNER/NAME or datasets:OWNER/NAME. Raises UserError for a name of another shape."""
        given = str(path).removeprefix(next(each for each in PREFIXES if str(path).startswith(each))).strip("/")
        match = _NAME.fullmatch(given)
        if match is None:
            raise UserError(
                f"{printable(given)!r} names no data set of the hub; give hf://datasets/OWNER/NAME, and behind it the "
                "part that you want: /CONFIGURATION/SPLIT, or [:1000] for the first 1000 rows."
            )
        repo, revision, part, num_rows = match.groups()
        return cls(repo, revision, (part or "").strip("/"), None if num_rows is None else int(num_rows))

    @property
    def file_name(self) -> str:
        """The set's name and revision as one name of a file."""
        return re.sub(r"[^\w.-]+", "--", f"{self.repo}@{self.revision or 'main'}")

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://datasets/{self.repo}{revision}"


@dataclass(frozen=True)
class HubFile:
    """A file of a set: its size, and the hash of its content as git has it."""

    num_bytes: int
    digest: str


@dataclass(frozen=True)
class HubSet:
    """A set at one commit; `configurations` are the tables of each configuration and split, empty if none are named."""

    repo: str
    commit: str
    files: dict[str, HubFile]
    configurations: Configurations
    default: str | None = None

    @property
    def tables(self) -> list[str]:
        """Its tables, in the order in which a folder's are read."""
        return [name for name in self.files if is_table(name)]

    @property
    def audio(self) -> list[str]:
        """Its files of sound."""
        return [name for name in self.files if is_audio(Path(name))]

    def save(self, path: Path) -> None:
        """Raises UserError where the disk refuses."""
        try:
            write_text(path, json.dumps(asdict(self)))
        except OSError as error:
            raise cache_refusal(error) from error

    @classmethod
    def load(cls, path: Path) -> "HubSet | None":
        """What `save` wrote; None where there is nothing, or nothing that can be read."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(**found | {"files": {name: HubFile(**file) for name, file in found["files"].items()}})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def is_on_hub(path: Path) -> bool:
    """Whether the path names a data set on the hub, such as hf://datasets/OWNER/NAME or datasets:OWNER/NAME."""
    return str(path).startswith(PREFIXES)


def look_up(name: HubName) -> HubSet:
    """The set as it is now, or as the hub made parquet of it where it holds neither tables nor files of sound.

    Raises:
        UserError: the set has none of them.
        Exception: whatever huggingface_hub raises without a connection, a login, or such a set.
    """
    from huggingface_hub.errors import RevisionNotFoundError

    found = _listing(name.repo, name.revision)
    if found.tables or found.audio:
        return found
    try:
        return _listing(name.repo, PARQUET_BRANCH)
    except RevisionNotFoundError:
        kinds = sorted({Path(each).suffix for each in found.files if Path(each).suffix})
        raise UserError(
            f"{name} holds neither tables (parquet, arrow) nor audio files, found {', '.join(kinds) or 'nothing'}, and "
            "the hub keeps no parquet of it; download and unpack it, and give the folder."
        ) from None


def choose_tables(found: HubSet, name: HubName) -> list[str]:
    """The tables of the part that was asked for, in order.

    Raises:
        UserError: there is no such part, or none was named where there are several configurations.
    """
    named, part = found.configurations, name.part
    first, _, rest = part.partition("/")
    usual = named.get(found.default or "", {})
    if first in named:
        chosen = named[first].get(rest, []) if rest else _all(named[first])
    elif not part:
        chosen = _all(usual) if named else found.tables
    else:
        chosen = usual.get(part, []) or _below(found.tables, part)
    if chosen:
        return [each for each in found.tables if each in set(chosen)]
    asked = f"has no part {part!r}" if part else "has several configurations"
    raise UserError(f"{name} {asked}: add one of {_parts(found)} to its name.")


def _listing(repo: str, revision: str | None) -> HubSet:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    about = api.dataset_info(repo, revision=revision)
    tree = api.list_repo_tree(repo, recursive=True, revision=about.sha, repo_type="dataset")
    entries = sorted((each for each in tree if isinstance(each, RepoFile)), key=lambda each: each.path.split("/"))
    visible = [each for each in entries if not any(part.startswith(".") for part in each.path.split("/"))]
    files = {each.path: HubFile(each.size, each.blob_id) for each in visible}
    tables = list(filter(is_table, files))
    configs = (about.card_data.to_dict().get("configs") if about.card_data else None) or []
    if revision == PARQUET_BRANCH:
        folders = dict.fromkeys(each.partition("/")[0] for each in tables if "/" in each)
        named = {config: _by_name(_below(tables, config)) for config in folders}
    else:
        named = {str(each.get("config_name", "default")): _splits(each, tables) for each in configs}
    named = {config: splits for config, splits in named.items() if _all(splits)}
    marked = [str(each.get("config_name")) for each in configs if each.get("default")]
    only = list(named) if len(named) == 1 else []
    usual = next((each for each in (*marked, "default", *only) if each in named), None)
    return HubSet(repo, str(about.sha), files, named, usual)


def _splits(config: Mapping[str, Any], tables: list[str]) -> dict[str, list[str]]:
    """The tables of a configuration of a card; without patterns for its splits their names tell them."""
    folder, files = str(config.get("data_dir") or "").strip("./"), config.get("data_files")
    if files is None:
        return _by_name(_below(tables, folder) if folder else tables)
    if isinstance(files, dict):
        files = [{"split": split, "path": path} for split, path in files.items()]
    given = [files] if isinstance(files, str | dict) else files
    splits: dict[str, list[str]] = {}
    for each in given:
        split, patterns = (each.get("split", "train"), each["path"]) if isinstance(each, dict) else ("train", each)
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            whole = "/".join(filter(None, (folder, pattern.removeprefix("./"))))
            splits.setdefault(str(split), []).extend(name for name in tables if _fits(name, whole))
    return splits


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, pattern.replace("**/", ""))


def _below(tables: Iterable[str], part: str) -> list[str]:
    """The table of this path, those of this folder, or those of the folder whose names say that they are this split."""
    tables = list(tables)
    folder, _, split = part.rpartition("/")
    return [each for each in tables if each == part or each.startswith(f"{part}/")] or [
        each for each in tables if each.startswith(f"{folder}/" if folder else "") and _split_of(each) == split
    ]


def _by_name(tables: Iterable[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for each in tables:
        splits.setdefault(_split_of(each), []).append(each)
    return splits


def _split_of(table: str) -> str:
    """`train` of data/train-00000-of-00005.parquet, train/0000.parquet and partial-train/0000.parquet."""
    stem = _SHARD.sub("", Path(table).stem)
    folder = Path(table).parent.name
    return folder.removeprefix("partial-") if folder and (stem.isdecimal() or stem in ("data", "part")) else stem


def _all(splits: Mapping[str, list[str]]) -> list[str]:
    return [each for tables in splits.values() for each in tables]


def _parts(found: HubSet) -> str:
    """What may be asked for, `/CONFIGURATION` or `/SPLIT`; of many the first."""
    named = found.configurations
    names = list(named) if len(named) > 1 else list(next(iter(named.values()), _by_name(found.tables)))
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(f"/{printable(each)}" for each in names[:MAX_NAMED]) + more
