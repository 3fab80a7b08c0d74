"""Pronunciations of English words that PocketSphinx's dictionary of 134,000 lacks: names, compounds, slips of the pen.

A word is first taken apart into two that are known ("undeleted" into "un" and "deleted"), else spelled out by the
commonest sound of each group of letters. That is rough: of 3,000 words that the dictionary does hold 23 % of the sounds
differ from it. Alignment needs no more, since the words around hold such a word in its place.
"""

import re
from collections.abc import Callable

Lookup = Callable[[str], str | None]

_SOUNDS = {
    **{
        "tion": "SH AH N",
        "sion": "ZH AH N",
        "ture": "CH ER",
        "ough": "AO",
        "eigh": "EY",
        "augh": "AO",
        "tious": "SH AH S",
    },
    **{
        "cious": "SH AH S",
        "igh": "AY",
        "sch": "SH",
        "tch": "CH",
        "dge": "JH",
        "que": "K",
        "air": "EH R",
        "ear": "IH R",
    },
    **{"eer": "IH R", "our": "AW R", "oor": "AO R", "ing": "IH NG", "ck": "K", "ch": "CH", "sh": "SH", "th": "TH"},
    **{"ph": "F", "wh": "W", "gh": "", "ng": "NG", "nk": "NG K", "qu": "K W", "kn": "N", "wr": "R", "ps": "P S"},
    **{"ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW", "oa": "OW", "oi": "OY", "oy": "OY", "ai": "EY"},
    **{"ay": "EY", "au": "AO", "aw": "AO", "ie": "IY", "ei": "IY", "ey": "IY", "eu": "UW", "ew": "UW", "ue": "UW"},
    **{
        "ar": "AA R",
        "er": "ER",
        "ir": "ER",
        "or": "AO R",
        "ur": "ER",
        "ce": "S",
        "ci": "S IH",
        "cy": "S IY",
        "ge": "JH",
    },
    **{"gi": "JH IH", "x": "K S", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH"},
    **{"i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S"},
    **{"t": "T", "u": "AH", "v": "V", "w": "W", "y": "IY", "z": "Z"},
}
_ENDINGS = {"es": "IH Z", "ed": "D", "e": "", "le": "AH L", "y": "IY", "a": "AH", "o": "OW", "s": "Z", "'s": "Z"}
_GROUPS = re.compile("|".join(sorted(_SOUNDS, key=len, reverse=True)))
_FOREIGN = str.maketrans("àáâãäåçèéêëìíîïñòóôõöøùúûüýÿ", "aaaaaaceeeeiiiinoooooouuuuyy")
_SHORTEST_PART = 2


def pronunciation(word: str, lookup: Lookup) -> str:
    """The sounds of a word in lower case as ARPABET with spaces between; `lookup` gives those of known words.

    Letters of other scripts have none, and a word without any sound becomes one short vowel.
    """
    known = lookup(word)
    if known is not None:
        return known
    for cut in sorted(range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1), key=lambda cut: abs(2 * cut - len(word))):
        first, second = (_known_part(part, lookup) for part in (word[:cut], word[cut:]))
        if first and second:
            return f"{first} {second}"
    return spelled_out(word) or "AH"


def _known_part(part: str, lookup: Lookup) -> str | None:
    """Two letters are a part only where they hold a vowel: any two letters are in the dictionary as a spelling."""
    if len(part) <= _SHORTEST_PART and not re.search("[aeiouy]", part):
        return None
    return lookup(part)


def spelled_out(word: str) -> str:
    """The commonest sounds of the letters of a word."""
    letters = word.lower().translate(_FOREIGN)
    ending = next((ending for ending in sorted(_ENDINGS, key=len, reverse=True) if letters.endswith(ending)), "")
    stem = letters.removesuffix(ending)
    if not re.search("[aeiouy]", stem):
        stem, ending = letters, ""
    doubled = re.sub(r"([bcdfgklmnprstz])\1", r"\1", stem)
    sounds = [_SOUNDS[group] for group in _GROUPS.findall(doubled)]
    if ending == "e" and re.search("(?:^|[^aeiou])[aiou][bcdfgklmnprstvz]$", doubled):
        # A silent e makes the vowel before it long, as in "made".
        long = {"a": "EY", "i": "AY", "o": "OW", "u": "UW"}[doubled[-2]]
        sounds = [_SOUNDS[group] for group in _GROUPS.findall(doubled[:-2])] + [long, _SOUNDS[doubled[-1]]]
    return " ".join([*filter(None, sounds), *filter(None, [_ENDINGS.get(ending, "")])])
