"""What a text becomes before a voice is trained on it: words as they are spoken, and nothing that is not spoken.

In this order: characters (NFC, plain quotes, dashes and spaces; no emoji and nothing invisible), marks of the format
(tags, times, names of speakers, Markdown), remarks about sounds, abbreviations, and numbers (numbers.py says by which
libraries). Every change is kept, and a text that needs none comes back as it was.

Languages are told apart by py3langid: 4 MB and 0.1 ms a text, where lingua takes 96 MB and 1 to 20 ms. On 2,700
telephone prompts of five languages both name 98 to 100 % of those of six words and more, and neither can tell the
language of one word.
"""

import html
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from calm_ft.metrics.base import ModelMissing
from calm_ft.preparation.words.numbers import Changes, Rule, apply, numbers_of, sentence_end
from calm_ft.preparation.words.wordings import ABBREVIATIONS, NUMBER_SIGNS, SOUNDS, WORDINGS


@dataclass(frozen=True)
class SpokenText:
    """A text as it is spoken.

    Attributes:
        text: empty where nothing of the text is speech.
        changes: what was changed, as pairs of before and after, in the order in which it was done.
        remarks: bracketed remarks such as "[laughter]" that were taken out.
        notes: what could not be done, in one sentence each.
    """

    text: str
    changes: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def spoken_form(text: str, language: str | None) -> SpokenText:
    """A text with everything written out as it is spoken in a language, an ISO 639-1 code (None: not known).

    English, French, German, Spanish, Italian and Portuguese have all forms; other languages that num2words knows have
    numbers, units and money; in all others digits stay, and `notes` says so. Raises ModelMissing without num2words or
    Babel.
    """
    changes: Changes = []
    remarks: list[str] = []
    code = (language or "").split("-")[0].split("_")[0].lower()
    spoken = _composed(text, changes)
    for rule in _format_rules():
        spoken = apply(rule, spoken, changes)
    spoken = _without_remarks(spoken, changes, remarks)
    numbers = numbers_of(code) if re.search(r"[\d&#@]|www\.|\w\.\w", spoken) else None
    for rule in (*_abbreviations(code), *(numbers.rules if numbers else ())):
        spoken = apply(rule, spoken, changes)
    spoken = _tidy(spoken) if changes else spoken.strip()
    notes = _notes(spoken, code)
    if not any(sign.isalnum() for sign in spoken):
        spoken = ""
    return SpokenText(spoken, tuple(changes), tuple(remarks), notes)


def _notes(spoken: str, language: str) -> tuple[str, ...]:
    if not any(sign.isdigit() for sign in spoken):
        return ()
    if not language:
        return ("Its digits stay as they are, for its language is not known: give the language.",)
    return (f"Its digits stay as they are, for no way is known to say them in {language!r}: write them out.",)


# Characters

_PLAIN = {
    **dict.fromkeys("“”„‟«»″〝〞", '"'),
    **dict.fromkeys("‹›", "'"),
    **{"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4"},
    **dict.fromkeys("‘’‚‛′ʼ`´", "'"),
    **dict.fromkeys("‐‑", "-"),
    "…": "...",
    "−": "-",
    **dict.fromkeys("©®™♪♫♬♩", ""),
    **{
        chr(code): unicodedata.normalize("NFKC", chr(code)) for code in (*range(0xFB00, 0xFB07), *range(0xFF10, 0xFF5B))
    },
}
_JOINERS = "\u200c\u200d"
_INVISIBLE = (
    r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufe00-\ufe0f\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]"
)
_EMOJI = (
    r"[\U0001F000-\U0001FAFF\U000E0020-\U000E007F\u2190-\u21FF\u2300-\u23FF\u25A0-\u27BF\u2900-\u297F\u2B00-\u2BFF\u20E3]"
    r"[\U0001F3FB-\U0001F3FF\ufe0f\u200d\u20e3]*"
)


def _composed(text: str, changes: Changes) -> str:
    """The text in NFC; each word that this changes is one change."""
    composed = unicodedata.normalize("NFC", text)
    if composed != text:
        pairs = zip(text.split(), composed.split(), strict=False)
        changes.extend((before, after) for before, after in pairs if before != after)
    return composed


@cache
def _format_rules() -> tuple[Rule, ...]:
    return tuple(Rule(re.compile(pattern, flags), say) for pattern, flags, say in _formats())


def _formats() -> Iterator[tuple[str, int, Any]]:
    stamp = r"(?:\d{1,2}:)?\d{1,2}:\d{2}(?:[.,]\d{1,3})?"
    yield r"&(?:\w+|#\d+|#x[0-9a-fA-F]+);", 0, lambda match: html.unescape(match[0])
    yield _INVISIBLE, 0, lambda _: ""
    # Between Latin letters a joiner is litter; Persian and Indic words are written with it.
    yield rf"(?<![\u0600-\u0FFF])[{_JOINERS}]|[{_JOINERS}](?![\u0600-\u0FFF])", 0, lambda _: ""
    yield _EMOJI, 0, lambda _: " "
    yield r"(?<=[«‹])\s+|\s+(?=[»›])", 0, lambda _: ""
    yield "[" + re.escape("".join(_PLAIN)) + "]", 0, lambda match: _PLAIN[match[0]]
    yield rf"(?:^\s*\d+\s*\n)?[\[(<]?{stamp}[\])>]?\s*-->\s*(?:[\[(<]?{stamp}[\])>]?)?(?:[ \t]+\w+:\S+)*", re.M, _gap
    yield rf"[\[<]{stamp}(?:\s*-\s*{stamp})?[\]>]|\({stamp}\)(?=\s)|^\s*{stamp}(?=\s+[^\W\d])(?=.*:)", 0, _gap
    yield r"[\[<(]?\b(?:SPEAKER|speaker|Speaker|spk|SPK)[ _-]?\w{1,3}[\])>]?\s*:\s*", 0, _gap
    yield r"[\[(](?:SPEAKER|speaker|Speaker|spk|SPK)[ _-]?\w{1,3}[\])]", 0, _gap
    yield (
        r"^\s*(?:INTERVIEWER|NARRATOR|MODERATOR|HOST|GUEST|Interviewer|Narrator|Moderator|Host|Guest)\s*:\s*",
        re.M,
        _gap,
    )
    yield (
        r"<v(?:\.\w+)*\s+[^>]*>|</?(?:b|i|u|s|em|strong|span|font|p|br|sub|sup|c|v|ruby|rt|lang|speak|prosody|break|a)\b[^>]*>",
        re.I,
        _gap,
    )
    yield r"^\s*(?:>>+|[-–—*•]|#{1,6})\s+", re.M, _gap
    yield r"!?\[([^\]]+)\]\(https?://[^)\s]+\)", 0, lambda match: match[1]
    yield r"(\*\*|__|~~)(?=\S)(.+?)(?<=\S)\1", 0, lambda match: match[2]
    # A dash between numbers is "to", any other one a pause.
    yield r"(?<=\d) ?[–—‒―] ?(?=\d)", 0, lambda _: "-"
    yield r"\s*[–—―]\s*(?=\S)|\s+‒\s+", 0, lambda _: " - "
    yield r"\s+", 0, lambda _: " "


def _gap(_: re.Match[str]) -> str:
    return " "


def _tidy(text: str) -> str:
    """No spaces at the ends, none doubled, and none before a full stop that what was taken out left alone."""
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"(?<=\w) (?=[.,](?:\s|$))", "", text)


# Remarks


def _without_remarks(text: str, changes: Changes, remarks: list[str]) -> str:
    """Without "[...]" and "<...>", and without "(...)" and "*...*" that hold a sound; other asterisks only go."""

    def take_out(match: re.Match[str]) -> str:
        remarks.append(match[0])
        return " "

    text = apply(Rule(re.compile(r"\[[^\[\]]*\]|<[^<>\s][^<>]*>|\{[^{}]*\}"), take_out), text, changes)
    sounds = rf"(?:[^()*]*\b)?(?:{SOUNDS})\b[^()*]*"
    text = apply(Rule(re.compile(rf"\({sounds}\)", re.I), _if_short(take_out)), text, changes)
    text = apply(Rule(re.compile(rf"\*{sounds}\*", re.I), _if_short(take_out)), text, changes)
    return apply(Rule(re.compile(r"\*(?=\w)([^*]+)(?<=[\w.,!?])\*"), lambda match: match[1]), text, changes)


def _if_short(take_out: Any) -> Any:
    """A whole sentence in brackets that names a sound is speech."""
    return lambda match: take_out(match) if len(match[0].split()) <= 5 else None


# Abbreviations


def _saint_or_street(match: re.Match[str]) -> str:
    before = match.string[: match.start()].split()[-1]
    return " Street" if before[0].isupper() else " Saint"


@cache
def _abbreviations(language: str) -> tuple[Rule, ...]:
    full = ABBREVIATIONS.get(language, {})
    if not full:
        return ()
    longest_first = sorted(full, key=len, reverse=True)
    pattern = "|".join(re.escape(short) + (r"(?!\w)" if short[-1].isalnum() else "") for short in longest_first)
    rules = []
    if language == "en":
        rules = [
            # "Baker St." is a street, "near St. Paul" a saint.
            Rule(re.compile(r"(?<=[a-z]) St\.(?= [A-Z])"), _saint_or_street),
            Rule(re.compile(r"^St\.(?= [A-Z])"), lambda _: "Saint"),
            Rule(re.compile(r"(?<=[a-z] )St\.(?!\w)"), lambda match: "Street" + sentence_end(match)),
        ]
    if language == "de":
        rules = [Rule(re.compile(r"(?<=[a-z])str\.(?= |$)"), lambda match: "straße" + sentence_end(match))]
    signs = "|".join(re.escape(sign) for sign in NUMBER_SIGNS[language])
    number = WORDINGS[language].number
    return (
        Rule(re.compile(rf"(?<!\w)(?:{signs}) ?(?=\d)"), lambda _: number + " "),
        *rules,
        Rule(re.compile(rf"(?<![\w.])(?:{pattern})"), lambda match: full[match[0]] + sentence_end(match)),
    )


# Languages

_NO_LANGUAGES = ("mis", "mul", "und", "zxx")  # ISO 639's codes for several, none and unknown ones

_FEWEST_WORDS, _TIMES_AS_LIKELY = 3, 20.0


def language_of(texts: Iterable[str]) -> str | None:
    """The language of most of the texts, an ISO 639-1 code; None for texts without letters.

    The first 500 texts are read as one. Raises ModelMissing without py3langid.
    """
    joined = " ".join(text for _, text in zip(range(500), texts, strict=False))
    if not any(sign.isalpha() for sign in joined):
        return None
    return str(_identifier().classify(joined)[0])


def known_code(name: str) -> str | None:
    """The code of a language that a list names, in two letters where it has them (`en` of `en` and of `eng`).

    None where the name is no code of ISO 639, or one for several or no languages. Raises ModelMissing without Babel.
    """
    if not re.fullmatch("[a-z]{2,3}", name) or name in _NO_LANGUAGES:
        return None
    if len(name) == 2:
        return name
    try:
        from babel.core import get_global
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    return str(get_global("language_aliases").get(name, name))


def foreign_texts(texts: Mapping[str, str], language: str) -> list[str]:
    """The ids of texts that are in another language than `language`, an ISO 639-1 code.

    A text is foreign where another language is 20 times as likely, and it has three words or more: of 1,344 such
    telephone prompts in five languages 5 were taken for foreign wrongly, and 94 to 99.7 % of foreign ones were found.
    Raises ModelMissing without py3langid.
    """
    identifier = _identifier()
    code = language.split("-")[0].lower()
    if code not in identifier.labels:
        return []
    found = []
    for id, text in texts.items():
        if len(re.findall(r"[^\W\d_]+", text)) < _FEWEST_WORDS:
            continue
        likelihoods: dict[str, float] = defaultdict(float, identifier.rank(text))
        if max(likelihoods.values()) > _TIMES_AS_LIKELY * max(likelihoods[code], math.ulp(0.0)):
            found.append(id)
    return found


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
