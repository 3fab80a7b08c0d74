"""What is said of characters that no model hears."""

import json
from collections import Counter
from dataclasses import dataclass, field

from calm_ft.data.text_coverage import summarize


@dataclass
class Report:
    dropped: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    rare: Counter[str] = field(default_factory=Counter)


REPORTS = {
    "a": Report(Counter({"\u201c": 1}), Counter("\u00e9")),
    "b": Report(),
    "c": Report(Counter({"\u201c": 2, ";": 1})),
    "d": Report(Counter({"\u201c": 1})),
    "e": Report(Counter({"\u201c": 1}), rare=Counter(["rhythm"])),
}


def test_characters_are_counted_over_clips_with_the_first_three_as_examples():
    report = summarize(REPORTS)
    counts = report.dropped["\u201c"]
    assert (counts.times, counts.clips, counts.examples) == (5, 4, ["a", "c", "d"])
    assert list(report.dropped) == ["\u201c", ";"]
    assert (report.unknown["\u00e9"].times, report.unknown["\u00e9"].clips) == (1, 1)


def test_each_kind_is_one_line():
    assert summarize(REPORTS).lines() == [
        "the text preparation drops or replaces \u201c (5x in 4 clips), ; (1x in 1 clip); for example in a, c, d",
        "the tokenizer does not know \u00e9 (1x in 1 clip); for example in a",
        "the model hardly met rhythm (1x in 1 clip); for example in e",
    ]


def test_nothing_is_said_where_every_character_is_heard():
    assert summarize({"a": Report(), "b": Report()}).lines() == []


def test_characters_that_cannot_be_seen_are_named_by_code():
    (line,) = summarize({"a": Report(unknown=Counter("\u200b\u0301\x07"))}).lines()
    for name in ("U+200B ZERO WIDTH SPACE", "U+0301 COMBINING ACUTE ACCENT", "U+0007 control character"):
        assert name in line


def test_of_very_many_characters_the_commonest_are_said_and_all_are_recorded():
    report = summarize({"a": Report(unknown=Counter({chr(0x4E00 + n): n + 1 for n in range(50)}))})
    (line,) = report.lines()
    assert line.startswith("the tokenizer does not know \u4e31 (50x in 1 clip), ")
    assert " and 38 more; for example in a" in line
    assert len(json.loads(json.dumps(report.as_dict()))["unknown"]) == 50
