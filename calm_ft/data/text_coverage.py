"""Which characters and words of the texts do not reach the model, how often, and in which clips.

No clip is excluded for this. That a dash is read as a comma is intended; a letter that the tokenizer does not know is
spoken in the recording but missing from the model's text. Whether that matters is for people to judge.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

NUM_EXAMPLES = 3
NUM_CHARACTERS_SAID = 12


class UncoveredCharacters(Protocol):
    """Counts of the characters of one text that do not reach the model, and of words that it hardly met."""

    dropped: Counter[str]
    unknown: Counter[str]
    rare: Counter[str]


@dataclass
class CharacterCount:
    """How often one character or word occurs in all texts; examples are the ids of the first clips with it."""

    times: int = 0
    clips: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TextReport:
    """Counts by character or word, the most frequent first."""

    dropped: dict[str, CharacterCount]
    unknown: dict[str, CharacterCount]
    rare: dict[str, CharacterCount]

    def lines(self) -> list[str]:
        """At most one sentence for each of the three kinds, for people; none if every character reaches the model."""
        kinds = (
            ("the text preparation drops or replaces", self.dropped),
            ("the tokenizer does not know", self.unknown),
            ("the model hardly met", self.rare),
        )
        return [f"{what} {_said(counts)}" for what, counts in kinds if counts]

    def as_dict(self) -> dict[str, Any]:
        """The same for run.json: times, clips and examples by kind and character."""
        return asdict(self)


def summarize(reports: Mapping[str, UncoveredCharacters]) -> TextReport:
    """Adds up the counts of single texts, given by utterance id."""
    return TextReport(
        count_characters({id: report.dropped for id, report in reports.items()}),
        count_characters({id: report.unknown for id, report in reports.items()}),
        count_characters({id: report.rare for id, report in reports.items()}),
    )


def count_characters(counts_by_id: Mapping[str, Counter[str]]) -> dict[str, CharacterCount]:
    """The counts of single texts, by clip, as counts of all of them: by character, the most frequent first."""
    joined: defaultdict[str, CharacterCount] = defaultdict(CharacterCount)
    for id, counts in counts_by_id.items():
        for character, times in counts.items():
            count = joined[character]
            count.times += times
            count.clips += 1
            if len(count.examples) < NUM_EXAMPLES:
                count.examples.append(id)
    return dict(sorted(joined.items(), key=lambda item: (-item[1].times, item[0])))


def _said(counts: dict[str, CharacterCount]) -> str:
    named = [
        f"{visible_name(character)} ({count.times}x in {count.clips} {'clip' if count.clips == 1 else 'clips'})"
        for character, count in list(counts.items())[:NUM_CHARACTERS_SAID]
    ]
    more = f" and {len(counts) - len(named)} more" if len(counts) > len(named) else ""
    examples = dict.fromkeys(id for count in counts.values() for id in count.examples)
    return f"{', '.join(named)}{more}; for example in {', '.join(list(examples)[:NUM_EXAMPLES])}"


def visible_name(character: str) -> str:
    """A word, or the character, or its code and name if it is invisible by itself."""
    if len(character) > 1 or (character.isprintable() and not unicodedata.combining(character)):
        return character
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character')}"
