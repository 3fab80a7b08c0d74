"""Which encoding a text file is in, so that every reader sees UTF-8 and no text becomes other letters without notice.

A byte-order mark decides, then validity as UTF-8, then the zeros of UTF-16. What is left is in one of many code pages,
which no file names. Windows' western one is taken where all its letters are those of one western language; else
charset-normalizer decides, if there is enough to judge by. Where nothing can be told, the bytes stay as they are, and
the rows that are not UTF-8 are left out one by one.
"""

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from charset_normalizer import from_bytes

UTF_8 = "utf-8"
# UTF-32 first: its mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WESTERN_LETTERS = tuple(
    frozenset(letters + letters.upper())
    for letters in (
        "àâæçéèêëîïôœùûüÿ",  # French
        "äöüßéà",  # German
        "áéíñóúüïç",  # Spanish, Catalan
        "àèéìíîòóùú",  # Italian
        "áâãàçéêíóôõúü",  # Portuguese
        "áäéèëíïóöüú",  # Dutch
        "åäöæøéèóü",  # Swedish, Norwegian, Danish, Finnish
    )
)
WESTERN_SIGNS = frozenset("‘’‚“”„«»‹›–—…•·¡¿°€£§©®ªº½¼¾×\xa0´")
CAPITAL_AFTER_SMALL = re.compile("[a-z][À-ÖØ-Þ]")
BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
UTF_8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
OTHER_CODE_PAGES = ["cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "mac_roman"]
EAST_ASIAN_CODE_PAGES = ["cp932", "euc_jp", "gb18030", "big5", "euc_kr"]
# Bytes beyond ASCII that charset-normalizer judges by. On a sentence or two it confuses neighbouring code pages.
MIN_BYTES_TO_JUDGE = 40
MIN_BYTES_TO_JUDGE_EAST_ASIAN = 150
MAX_BYTES_TO_JUDGE = 200_000
# Of UTF-16 in any script, blanks, digits and line breaks have one zero byte of two.
MIN_SHARE_OF_ZEROS = 0.05
MIN_BYTES_OF_UTF_16 = 6


@dataclass(frozen=True)
class DecodedFile:
    """A file's content as UTF-8 bytes without byte-order mark, and the encoding that it was read as.

    Bytes that are not in that encoding stay in `content`, for the reader to leave out their rows.
    """

    content: bytes
    encoding: str


def read_text_file(path: Path, code_page: str | None = None) -> DecodedFile:
    """Reads a text file as UTF-8; `code_page` is what `common_code_page` found for it and the files beside it."""
    return decode_content(path.read_bytes(), code_page)


def decode_content(content: bytes, code_page: str | None = None) -> DecodedFile:
    """The content as UTF-8; the encoding is `utf-8` also for what cannot be told."""
    encoding = _unicode_form(content)
    if encoding is None:
        encoding = code_page or _code_page(content)
    if encoding in (None, UTF_8):
        return DecodedFile(content.removeprefix(codecs.BOM_UTF8), UTF_8)
    if encoding.startswith("utf-"):
        return DecodedFile(_recoded(content, encoding).removeprefix(codecs.BOM_UTF8), encoding)
    # Two bytes of an East Asian page are often valid in UTF-8 by chance, accented letters hardly ever.
    is_east_asian = encoding in EAST_ASIAN_CODE_PAGES
    lines = [
        _recoded(line, encoding) if is_east_asian or _share_of_utf8(line) < 0.5 else line
        for line in content.split(b"\n")
    ]
    return DecodedFile(b"\n".join(lines), encoding)


def common_code_page(contents: Iterable[bytes]) -> str | None:
    """The code page of many short files together, of those that are in no form of Unicode; None if it is not known."""
    return _code_page(b"\n".join(content for content in contents if _unicode_form(content) is None))


def _unicode_form(content: bytes) -> str | None:
    """UTF-8, -16 or -32; None for a code page."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return encoding
    zeros = (content[0::2].count(0), content[1::2].count(0))
    is_even = len(content) >= MIN_BYTES_OF_UTF_16 and len(content) % 2 == 0
    if is_even and max(zeros) > MIN_SHARE_OF_ZEROS * len(content) / 2:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    if _is_utf8(content):
        return UTF_8
    # A list in UTF-8 of which single rows were pasted from elsewhere: its good rows show what it is.
    return UTF_8 if _share_of_utf8(content) >= 0.5 else None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode(UTF_8)
    except UnicodeDecodeError:
        return False
    return True


def _share_of_utf8(content: bytes) -> float:
    """Which share of the bytes beyond ASCII stand in sequences that are valid in UTF-8; 1 if there are none."""
    num_beyond = len(BEYOND_ASCII.findall(content))
    return sum(map(len, UTF_8_SEQUENCE.findall(content))) / num_beyond if num_beyond else 1.0


def _recoded(content: bytes, encoding: str) -> bytes:
    """The content as UTF-8, or as it is where it is not in this encoding."""
    try:
        return content.decode(encoding).encode(UTF_8)
    except (UnicodeDecodeError, UnicodeEncodeError, LookupError):
        return content


def _code_page(content: bytes) -> str | None:
    lines = [line for line in content.split(b"\n") if _share_of_utf8(line) < 0.5]
    sample = b"\n".join(lines)[:MAX_BYTES_TO_JUDGE]
    num_judged = sum(byte > 127 for byte in sample)
    if num_judged == 0 or b"\0" in sample:
        return None
    if _is_western(sample):
        return "cp1252"
    if num_judged < MIN_BYTES_TO_JUDGE:
        return None
    best = from_bytes(sample, cp_isolation=[*OTHER_CODE_PAGES, *EAST_ASIAN_CODE_PAGES]).best()
    if best is None or (best.encoding in EAST_ASIAN_CODE_PAGES and num_judged < MIN_BYTES_TO_JUDGE_EAST_ASIAN):
        return None
    return best.encoding


def _is_western(sample: bytes) -> bool:
    """Whether all letters beyond ASCII are of one western language, within words of ASCII letters."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = {character for character in text if not character.isascii()} - WESTERN_SIGNS
    if not any(letters <= language for language in WESTERN_LETTERS):
        return False
    if CAPITAL_AFTER_SMALL.search(text):  # half of a letter in UTF-8
        return False
    num_letters = sum(character.isalpha() for character in text)
    return 2 * sum(character in letters for character in text) < num_letters or not letters
