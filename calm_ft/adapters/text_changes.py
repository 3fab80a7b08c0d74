"""Which characters of a text an upstream text preparation takes out, or replaces by others."""

from collections import Counter
from difflib import SequenceMatcher


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
