"""Numbers, dates, times, sums of money, units and addresses, written out as they are spoken.

The words come from num2words (numbers, ordinals, years, money in some fifty languages) and Babel (Unicode's CLDR: the
separators, months, units and plural forms of each language). Of the other two libraries that were weighed, wetext
knows English, Chinese and Japanese alone, and nemo_text_processing brings pynini, which has no wheel for Windows, and
half a minute of compiling grammars for each language; both read a whole sentence better where a number's gender or
case depends on it.

What is written down here is how each language joins those words. English, French, German, Spanish, Italian and
Portuguese have all forms; other languages that num2words knows have numbers, units and money alone, and in a language
that it does not know digits stay. Where a form has several readings ("1984", "3:05", "03/04/2024") the commonest is
taken: a text is better corrected by ear.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from typing import Any

from calm_ft.metrics.base import ModelMissing
from calm_ft.preparation.words.wordings import CURRENCIES, FEMININE_UNITS, MONEY, UNITS, WORDINGS

Changes = list[tuple[str, str]]


_GERMAN_OBLIQUE = {"am", "im", "vom", "zum", "beim", "dem", "den", "des", "ab", "seit", "bis", "zur"}
_WEAK_GERMAN_NOUNS = "Jahrhunderts?|Stock|Klasse|Kapitel|Tag|Mal|Platz|Weltkrieg|Geburtstag|Auflage"


@dataclass(frozen=True)
class Rule:
    """A form of writing and how it is spoken; `say` gives None where a match is not that form after all."""

    pattern: re.Pattern[str]
    say: Callable[[re.Match[str]], str | None]


def apply(rule: Rule, text: str, changes: Changes) -> str:
    """The text with every match spoken; each is kept in `changes` as it was and as it became."""

    def replace(match: re.Match[str]) -> str:
        spoken = rule.say(match)
        if spoken is None or spoken == match[0]:
            return match[0]
        # "MP3" is said in two words; nothing else may pull words apart.
        whole, start, end = match.string, match.start(), match.end()
        before = " " if start and match[0][:1].isdigit() and whole[start - 1].isalnum() else ""
        after = " " if match[0][-1:].isdigit() and whole[end : end + 1].isalnum() else ""
        changes.append((match[0].strip(), spoken.strip()) if match[0].strip() else (match[0], spoken))
        return before + spoken + after

    return rule.pattern.sub(replace, text)


def sentence_end(match: re.Match[str]) -> str:
    """The full stop of a sentence whose last word is an abbreviation that is written out."""
    at_end = not match.string[match.end() :].strip("\"') ")
    return "." if at_end and match[0].endswith(".") else ""


def _constant(spoken: str, _: re.Match[str]) -> str:
    return spoken


@cache
def numbers_of(language: str) -> "Numbers | None":
    """The numbers of a language (ISO 639-1); None where no library knows them.

    Raises ModelMissing without num2words or Babel.
    """
    try:
        from babel import Locale, UnknownLocaleError
        from num2words import CONVERTER_CLASSES
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    if language not in CONVERTER_CLASSES:
        return None
    try:
        return Numbers(language, Locale.parse(language))
    except (UnknownLocaleError, ValueError):
        return None


class Numbers:
    """Speaks the numbers of one language; `rules` are to be applied in order, for later ones take what is left."""

    def __init__(self, language: str, locale: Any) -> None:
        self.language, self._locale = language, locale
        self._words = WORDINGS.get(language)
        groups, self._decimal = (",", ".") if language == "en" else ("., '’", ",")
        self._groups = groups
        group = "|".join(re.escape(sign) for sign in groups)
        # One and the same sign between all groups; "3.14" is a decimal where the point groups thousands.
        self.number = (
            rf"(?:\d{{1,3}}(?:(?:{group})\d{{3}})+(?!\d)|\d+)(?:{re.escape(self._decimal)}\d+)?"
            if self._decimal == "."
            else rf"(?:\d{{1,3}}(?:(?:{group})\d{{3}})+(?!\d)(?:,\d+)?|\d+[.,]\d+|\d+)"
        )
        self.rules: tuple[Rule, ...] = tuple(self._rules())

    def _rules(self) -> Iterator[Rule]:
        number = self.number
        if self._words is not None:
            yield from self._addresses()
            yield from self._dates()
            yield from self._times()
        digits = r"(?<![\w.])(?:\+\d[\d ()/-]{6,}\d|0\d[\d /-]{4,}\d|\d{3}-\d{4}|\d{9,})(?![\w])"
        yield Rule(re.compile(digits), lambda match: self.digits(match[0]))
        yield Rule(re.compile(r"(?<![\w.,])\d+(?:\.\d+){2,}(?![\w])"), self._version)
        if self._words is not None:
            yield from self._joined()
        scales = self._words.scales if self._words else "(?!)"
        yield Rule(
            re.compile(rf"({MONEY}) ?({number})(?: ({scales})\b)?(?!\w)"), lambda m: self._money(m[2], m[1], m[3])
        )
        yield Rule(
            re.compile(rf"(?<!\w)({number})(?: ({scales}))? ?({MONEY})(?!\w)"), lambda m: self._money(*m.group(1, 3, 2))
        )
        units = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
        yield Rule(re.compile(rf"(?<![\w.,])({number}) ?({units})(?!\w)(?!\.\w)"), lambda m: self._measure(m[1], m[2]))
        if self._words is not None:
            yield from self._ordinals()
            yield Rule(re.compile(r"(?<![\w./,])(\d+)/(\d+)(?![\w/])"), self._fraction_of)
        yield Rule(re.compile(r"(?<![\w.,])(1[1-9]\d\d|20\d\d)(?![\w]|[.,]\d)"), lambda m: self.year(int(m[0])))
        yield Rule(re.compile(number), lambda match: self.cardinal(match[0]))
        if self._words is not None:
            yield from self._signs()

    # Numbers as such

    def cardinal(self, written: str) -> str:
        """A number as it is written in this language, with its separators."""
        whole, point, fraction = self._parts(written)
        if len(whole) > 1 and whole.startswith("0"):
            return self.digits(written)
        spoken = self._say(int(whole))
        return f"{spoken} {self._fraction(whole, fraction)}" if point else spoken

    def year(self, year: int) -> str:
        """A year; English and German count hundreds."""
        return self._say(year, to="year")

    def digits(self, written: str) -> str:
        """Digit by digit; a plus sign before them is said."""
        words = [self._say(int(sign)) for sign in written if sign.isdigit()]
        plus = [self._words.plus] if self._words and written.startswith("+") else []
        return " ".join(plus + words)

    def _say(self, value: int | Decimal, **how: Any) -> str:
        """num2words, without the commas that would be heard as pauses."""
        from num2words import num2words

        try:
            spoken = str(num2words(value, lang=self.language, **how))
        except (NotImplementedError, OverflowError, KeyError, IndexError, ValueError, TypeError):
            if how:
                return self._say(value)
            return self.digits(str(value)) if value >= 10 else str(value)
        return re.sub(r"\s+", " ", spoken.replace(",", " ")).strip()

    def _parts(self, written: str) -> tuple[str, str, str]:
        """The whole part, the decimal sign or nothing, and the decimals."""
        point = self._decimal
        if point == "," and "," not in written and re.fullmatch(r"\d+\.(?:\d{1,2}|\d{4,})", written):
            point = "."
        whole, sign, fraction = written.partition(point)
        return re.sub(rf"[{re.escape(self._groups)}]", "", whole), sign, fraction

    def _value(self, written: str) -> Decimal:
        whole, _, fraction = self._parts(written)
        return Decimal(f"{whole}.{fraction}" if fraction else whole)

    def _fraction(self, whole: str, fraction: str) -> str:
        if self._words is None:
            return " ".join(self._say(Decimal(f"{whole}.{fraction}")).split()[len(self._say(int(whole)).split()) :])
        at_once = self._words.reads_decimals_whole and len(fraction) <= 2 and not fraction.startswith("0")
        return f"{self._words.point} {self._say(int(fraction)) if at_once else self.digits(fraction)}"

    def _version(self, match: re.Match[str]) -> str | None:
        if self._decimal == "," and re.fullmatch(r"\d{1,3}(?:\.\d{3})+", match[0]):
            return None
        dot = f" {self._words.dot if self.language != 'en' else 'point'} " if self._words else " "
        return dot.join(self._say(int(part)) for part in match[0].split("."))

    # Money and units

    def _money(self, written: str, sign: str, scale: str | None) -> str | None:
        code, amount = CURRENCIES[sign], self._value(written)
        joiner = self._words.cents if self._words else ""
        known = "EUR" if code == "BRL" else code
        whole = self._say(Decimal(f"{amount:.2f}"), to="currency", currency=known, separator=f"{joiner} ¦")
        if code == "BRL":  # num2words knows reais in a converter of its own that takes no separator
            for euro, real in (("euros", "reais"), ("euro", "real"), ("cêntimo", "centavo")):
                whole = whole.replace(euro, real)
        if "¦" not in whole:
            return None
        units, _, cents = whole.replace(" sterling", "").partition("¦")
        units = units.strip().removesuffix(joiner.strip()).strip() if joiner else units.strip()
        if self.language == "en" and code == "EUR" and amount >= 2:
            units = units.replace("euro", "euros")
        if scale is not None:
            of = self._words.of if self._words else ""
            name = units.split()[-1]
            of = "d'" if self.language == "fr" and name[0] in "aeiou" else of
            return f"{self.cardinal(written)} {scale} {of}{name}"
        if amount != round(amount, 2):
            return f"{self.cardinal(written)} {units.split()[-1]}"
        if amount == int(amount):
            return units
        return cents.strip() if amount < 1 else f"{units}{joiner} {cents.strip()}"

    def _measure(self, written: str, unit: str) -> str:
        from babel.units import format_unit

        value, name = self._value(written), UNITS[unit]
        with_digits = str(format_unit(value, name, length="long", locale=self._locale))
        noun = re.sub(r"[\d.,\s\u00a0\u202f]*\d[\s\u00a0\u202f]*", "", with_digits).replace("\u00a0", " ").strip()
        spoken = self.cardinal(written)
        if value == 1 and self._words is not None:
            is_feminine = name.split("-", 1)[1] in FEMININE_UNITS.get(self.language, ())
            spoken = self._words.one[is_feminine]
        return f"{spoken} {noun}"

    # Ordinals, ranges and signs

    def ordinal(self, value: int, after: str = "", before: str = "") -> str:
        """An ordinal: `after` tells its gender where it is written, `before` is the word before it (German cases)."""
        spoken = self._say(value, to="ordinal")
        if self.language == "de" and before.lower() in _GERMAN_OBLIQUE:
            return spoken + "n"
        feminine = after.strip(".") in {"ª", "re", "ère", "res", "ères"}
        if feminine and self.language == "fr":
            return "première"
        if feminine:
            return " ".join(re.sub("o$", "a", word) for word in spoken.split())
        return "primer" if self.language == "es" and after.endswith("er") and value == 1 else spoken

    def _ordinals(self) -> Iterator[Rule]:
        assert self._words is not None
        if self.language == "de":
            months = "|".join(self._months())
            pattern = rf"(?:\b(\w+) )?(?<![\w.,])(\d{{1,3}})\.(?= ?(?:{months}|{_WEAK_GERMAN_NOUNS})\b)"
            yield Rule(re.compile(pattern), self._german_ordinal)
            yield Rule(re.compile(r"(?<![\w.,])(\d{4})er\b"), lambda m: self.year(int(m[1])) + "er")
            return
        pattern = (
            rf"(?<![\w.,])(\d{{1,4}}) ?({self._words.ordinal})"
            if self.language == "it"
            else (rf"(?<![\w.,])(\d{{1,4}})({self._words.ordinal})")
        )
        yield Rule(re.compile(pattern), lambda m: self.ordinal(int(m[1]), m[2]))

    def _german_ordinal(self, match: re.Match[str]) -> str:
        before = match[1] or ""
        return f"{before} {self.ordinal(int(match[2]), before=before)}".strip()

    def _decade(self, match: re.Match[str]) -> str:
        spoken = self._say(int(match[1])) if match[1] else self.year(int(match[2]))
        return spoken[:-1] + "ies" if spoken.endswith("y") else spoken + "s"

    def _joined(self) -> Iterator[Rule]:
        words = self._words
        assert words is not None
        if self.language == "en":
            yield Rule(re.compile(r"(?<!\w)(?:'?(\d0)|(1[1-9]\d0|20\d0))'?s\b"), self._decade)
        year, number = r"(?:1[1-9]\d\d|20\d\d)", self.number
        yield Rule(
            re.compile(rf"(?<![\w.,-])({year}) ?- ?(?={year}(?![\w-]))"),
            lambda m: f"{self.year(int(m[1]))} {words.to} ",
        )
        yield Rule(
            re.compile(rf"(?<![\w.,-])({number}) ?- ?(?={number}(?![\d-]))"),
            lambda m: f"{self.cardinal(m[1])} {words.to} ",
        )
        yield Rule(re.compile(rf"(?:(?<=\s)|^)-(?={self.number})"), lambda _: words.minus + " ")

    def _fraction_of(self, match: re.Match[str]) -> str:
        assert self._words is not None
        usual = {
            "1/2": "one half",
            "1/3": "one third",
            "2/3": "two thirds",
            "1/4": "one quarter",
            "3/4": "three quarters",
        }
        if self.language == "en":
            return usual.get(match[0]) or f"{self.cardinal(match[1])} {self.cardinal(match[2])}"
        return f"{self.cardinal(match[1])} {self._words.slash} {self.cardinal(match[2])}"

    def _signs(self) -> Iterator[Rule]:
        words = self._words
        assert words is not None
        for pattern, word in ((r"\s*&\s*", words.ampersand), (r" \+ ", words.plus), (r" = ", words.equals)):
            yield Rule(re.compile(pattern), partial(_constant, f" {word} "))
        yield Rule(re.compile(r"#(?=\w)"), lambda _: words.number + " ")

    # Dates and times

    def _months(self) -> list[str]:
        from babel.dates import get_month_names

        return [str(name) for _, name in sorted(get_month_names("wide", locale=self._locale).items())]

    def _dates(self) -> Iterator[Rule]:
        yield Rule(re.compile(r"(?<![\w./-])(\d{4})-(\d\d)-(\d\d)(?![\w/-])"), lambda m: self._date(m[3], m[2], m[1]))
        sign = r"\." if self.language == "de" else r"[/.]"
        yield Rule(
            re.compile(rf"(?:\b([^\W\d]+) )?(?<![\w./-])(\d\d?){sign}(\d\d?){sign}(\d{{4}})(?![\w/-])"),
            self._written_date,
        )
        if self.language == "en":
            pattern = rf"\b({'|'.join(self._months())}) (\d\d?)(?:st|nd|rd|th)?(?!\d)(?:(, ?| )(\d{{4}})(?!\d))?"
            yield Rule(re.compile(pattern), self._english_date)

    def _written_date(self, match: re.Match[str]) -> str | None:
        before, first, second, year = match.groups()
        month_first = self.language == "en" and int(first) <= 12
        day, month = (second, first) if month_first else (first, second)
        spoken = self._date(day, month, year, before or "")
        return spoken if spoken is None or not before else f"{before} {spoken}"

    def _english_date(self, match: re.Match[str]) -> str | None:
        month, day, comma, year = match.groups()
        if not 1 <= int(day) <= 31:
            return None
        return f"{month} {self.ordinal(int(day))}" + (f"{comma}{self.year(int(year))}" if year else "")

    def _date(self, day: str, month: str, year: str, before: str = "") -> str | None:
        if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
            return None
        name, number, said_year = self._months()[int(month) - 1], int(day), self.year(int(year))
        if self.language == "en":
            return f"{name} {self.ordinal(number)}, {said_year}"
        if self.language == "de":
            return f"{self.ordinal(number, before=before)} {name} {said_year}"
        first_is_ordinal = self.language in ("fr", "it", "pt")
        said_day = self.ordinal(1) if number == 1 and first_is_ordinal else self._say(number)
        link = " de " if self.language in ("es", "pt") else " "
        return f"{said_day}{link}{name}{link}{said_year}"

    def _times(self) -> Iterator[Rule]:
        clock = r"(?<![\w:.])([01]?\d|2[0-3])"
        minutes = r"([0-5]\d)(?![\w:])"
        if self.language == "fr":
            yield Rule(re.compile(rf"{clock} ?[hH:] ?{minutes}(?: ?h\b)?"), self._time)
            yield Rule(re.compile(rf"{clock} ?h\b(?!\w)"), self._time)
        elif self.language == "de":
            yield Rule(re.compile(rf"{clock}(?::{minutes}(?: Uhr)?|\.{minutes} Uhr| Uhr)"), self._time)
        elif self.language == "en":
            yield Rule(re.compile(rf"{clock}(?::{minutes})?(?: ?([ap])\.?m\b\.?)", re.IGNORECASE), self._english_time)
            yield Rule(re.compile(rf"{clock}:{minutes}"), self._english_time)
        else:
            yield Rule(re.compile(rf"{clock}:{minutes}(?: ?h\b)?"), self._time)

    def _time(self, match: re.Match[str]) -> str:
        assert self._words is not None
        hour, *rest = match.groups()
        minute = next((int(part) for part in rest if part), 0)
        feminine_one = int(hour) == 1 and self.language in ("fr", "es", "pt")
        said = self._words.one[1] if feminine_one else self._say(int(hour))
        said = self._words.one[0] if int(hour) == 1 and self.language == "de" else said
        hours = " heure " if self.language == "fr" and int(hour) <= 1 else self._words.hours
        if not minute:
            return (said + (hours if self.language in ("fr", "de") else "")).strip()
        return f"{said}{hours}{self._say(minute)}"

    def _english_time(self, match: re.Match[str]) -> str:
        hour, minute, *half = match.groups()
        said = [self._say(int(hour))]
        if minute and int(minute):
            said += (["oh"] if minute[0] == "0" else []) + [self._say(int(minute))]
        elif not half:
            said.append("o'clock" if 1 <= int(hour) <= 12 else "hundred")
        spoken = " ".join(said + ([f"{half[0].lower()} m"] if half else []))
        return spoken + sentence_end(match)

    # Addresses

    def _addresses(self) -> Iterator[Rule]:
        yield Rule(re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), lambda match: self._spell(match[0]))
        top = "com|org|net|edu|gov|io|fr|de|es|it|pt|uk|eu|ch|at|ru|info|dev|ai|co"
        url = rf"\b(?:https?://[^\s<>\"]+|www\.[^\s<>\"]+|(?:[\w-]+\.)+(?:{top})(?:/[^\s<>\"]*)?(?![\w.]\w))"
        yield Rule(re.compile(url, re.IGNORECASE), self._url)

    def _url(self, match: re.Match[str]) -> str:
        address = match[0].rstrip(".,;:!?)'")
        end = match[0][len(address) :]
        return self._spell(re.sub(r"^https?://", "", address, flags=re.IGNORECASE).rstrip("/")) + end

    def _spell(self, address: str) -> str:
        words = self._words
        assert words is not None
        signs = {".": words.dot, "/": words.slash, "@": words.at, "-": words.hyphen, "_": words.underscore}
        signs |= {"+": words.plus, "=": words.equals, "&": words.ampersand}
        parts = re.findall(r"\d+|[^\W\d_]+|[^\w\s]|_", address)
        spoken = [signs.get(part, "") if not part.isalnum() else self._part(part) for part in parts]
        return " ".join(part for part in spoken if part)

    def _part(self, part: str) -> str:
        if part.lower() == "www":
            return "w w w"
        return (
            self.digits(part)
            if part.isdigit() and (part[0] == "0" or len(part) > 4)
            else (self._say(int(part)) if part.isdigit() else part)
        )
