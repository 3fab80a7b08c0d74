"""Room in T3's text vocabulary for the characters of a language that it has not learned, without a row more.

Stock builds T3 with 2454 rows of text tokens and loads its files strictly, so a larger table would not load. Instead,
rows that the texts of the new language never read get a new meaning: rows of no token, then the tokens `[cj_*]` by
which Chinese is spelled, then characters of other scripts. Merges and what they join stay as they are, and so do Latin
letters, digits, marks and languages' tags. The tokenizer is made anew of the released one and a table that says which
row means which character now; the table lies in every checkpoint.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from chatterbox.mtl_tts import punc_norm
from tokenizers import Tokenizer
from torch import Tensor

from calm_ft.errors import UserError

RELEASED, TAG = 0, -1
"""What the table holds for a row that means what it did, and for the row of the language's tag; else a code point."""
CHINESE, START, UNKNOWN = "[cj_", "[START]", "[UNK]"
KEPT_SCRIPTS = {"LATIN", "COMMON"}


def with_new_rows(tokenizer: Tokenizer, num_rows: int, texts: Sequence[str], language: str, is_new: bool) -> Tensor:
    """The table [num_rows] int64 by which a tokenizer reads all of the texts.

    Args:
        is_new: whether the language needs a tag of its own.

    Raises UserError where more is needed than there are rows to be reused.
    """
    read = _characters(texts)
    characters = sorted(each for each in read if tokenizer.token_to_id(UNKNOWN) in tokenizer.encode(each).ids)
    needs_tag = is_new and tokenizer.token_to_id(f"[{language}]") is None
    free = _reusable(tokenizer, num_rows, read)
    needed = len(characters) + needs_tag
    if needed > len(free):
        raise UserError(
            f"The texts hold {len(characters)} characters that the model's tokenizer lacks, and {len(free)} of its "
            "rows can be reused: write the texts with fewer characters, or in Latin letters."
        )
    meanings = [*([TAG] if needs_tag else []), *map(ord, characters)]
    table = torch.full((num_rows,), RELEASED)
    table[free[:needed]] = torch.tensor(meanings, dtype=torch.int64)
    return table


def _characters(texts: Iterable[str]) -> set[str]:
    """What the tokenizer is given of texts: lower case and decomposed, without spaces and invisible signs."""
    found = {each for text in texts for each in unicodedata.normalize("NFKD", punc_norm(text).lower())}
    return {each for each in found if not each.isspace() and not unicodedata.category(each).startswith("C")}


def _reusable(tokenizer: Tokenizer, num_rows: int, read: set[str]) -> list[int]:
    """Rows in the order in which they are given another meaning; read: the characters of the texts."""
    content = json.loads(tokenizer.to_str())
    names = {id: name for name, id in tokenizer.get_vocab().items()}
    joined = {part for merge in content["model"]["merges"] for part in _parts(merge)}
    scripts = {_script(each) for each in read}

    def is_foreign(name: str) -> bool:
        return len(name) == 1 and name not in read | joined and _script(name) not in scripts | KEPT_SCRIPTS

    empty = [row for row in range(num_rows) if row not in names]
    chinese = [row for row in sorted(names) if names[row].startswith(CHINESE) and names[row] not in joined]
    foreign = [row for row in sorted(names, reverse=True) if is_foreign(names[row])]
    return [*empty, *chinese, *foreign]


def _parts(merge: Any) -> list[str]:
    """The two tokens that a merge joins, and what it makes; older files have them in one text."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return [left, right, left + right]


def _script(character: str) -> str:
    """The script of a letter, by the first word of its name; COMMON for marks, digits and signs."""
    if not character.isalpha():
        return "COMMON"
    return unicodedata.name(character, "COMMON").split(" ")[0]


def extended(tokenizer: Tokenizer, table: Tensor, language: str) -> Tokenizer:
    """The released tokenizer with the meanings of a table."""
    meanings = {row: code for row, code in enumerate(table.tolist()) if code != RELEASED}
    if not meanings:
        return tokenizer
    content = json.loads(tokenizer.to_str())
    model, added = content["model"], content["added_tokens"]
    example = next(each for each in added if each["content"] == START)
    vocabulary = {name: row for name, row in model["vocab"].items() if row not in meanings}
    content["added_tokens"] = [each for each in added if each["id"] not in meanings]
    for row, code in meanings.items():
        name = f"[{language}]" if code == TAG else chr(code)
        vocabulary[name] = row
        if code == TAG:
            content["added_tokens"].append({**example, "id": row, "content": name})
    model["vocab"] = vocabulary
    content["added_tokens"].sort(key=lambda each: each["id"])
    return Tokenizer.from_str(json.dumps(content, ensure_ascii=False))


@torch.no_grad()
def begin_rows(weights: Iterable[Tensor], table: Tensor) -> None:
    """Let the rows [N, D] of each table of weights that a table gives another meaning begin at the mean of all rows."""
    is_new = table != RELEASED
    for rows in weights:
        rows[is_new.to(rows.device)] = rows.mean(dim=0)
