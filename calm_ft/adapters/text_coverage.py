"""Which characters of a text do not reach a model as they are written."""

from collections import Counter
from dataclasses import dataclass, field
from difflib import SequenceMatcher


@dataclass
class TextCoverage:
    """How often each character of a text is dropped or replaced before the tokenizer, or unknown to it."""

    dropped: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


def replaced_characters(text: str, prepared: str) -> Counter[str]:
    """Characters of `text` that are removed, or replaced by others, on the way to `prepared`.

    White space, case and what is added do not count.
    """
    before, owners = _folded(text)
    after, _ = _folded(prepared)
    if before == after:
        return Counter()
    edits = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    lost = (place for edit, first, last, _, _ in edits if edit in ("delete", "replace") for place in range(first, last))
    return Counter(owners[place] for place in lost)


def _folded(text: str) -> tuple[list[str], list[str]]:
    """Characters without case (`ß` makes two), and which character of the text each of them comes from."""
    pairs = [(folded, each) for each in text if not each.isspace() for folded in each.casefold()]
    return [folded for folded, _ in pairs], [each for _, each in pairs]
