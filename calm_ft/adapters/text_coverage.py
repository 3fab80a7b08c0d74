"""Which characters of a text do not reach a model as they are written, and which of its words a small model lacks."""

from collections import Counter
from dataclasses import dataclass, field
from difflib import SequenceMatcher


@dataclass
class TextCoverage:
    """How often each character of a text is dropped or replaced before the tokenizer, or unknown to it.

    `rare` counts words that the model hardly met in its training, where the model says which it met.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    rare: Counter[str] = field(default_factory=Counter)

    def warnings(self) -> list[str]:
        """What to say before the text is spoken, one line for each kind; nothing where the model can read it all."""
        lines = []
        if self.unknown:
            lines.append(f"the model cannot read {_listed(self.unknown)}: that will be missing from the speech.")
        if self.rare:
            lines.append(f"the model hardly met these words and may stumble over them: {_listed(self.rare)}.")
        return lines


_NUM_LISTED = 12


def _listed(counts: Counter[str]) -> str:
    more = len(counts) - _NUM_LISTED
    return ", ".join(list(counts)[:_NUM_LISTED]) + (f" and {more} more" if more > 0 else "")


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
