"""Lines of text files, each decoded by itself, and texts checked for something to say."""

from collections.abc import Iterator
from pathlib import Path

from calm_ft.data.sources.encodings import read_text_file
from calm_ft.data.utterance import UnusableClip, printable

MAX_CHARACTERS_SHOWN = 80


def decode_line(data: bytes) -> str:
    """UTF-8 text without byte-order mark; raises `UnusableClip` for any other bytes, with the place of the first."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise UnusableClip(f"the text is not UTF-8 (column {len(before) + 1})") from None
    if "\0" in text:
        raise UnusableClip("the text is not UTF-8")
    return text


def checked_text(text: str) -> str:
    """The text with single spaces; raises `UnusableClip` if there is nothing to say in it."""
    if not any(character.isalnum() for character in text):
        raise UnusableClip("the text is empty" if not text.strip() else "the text holds no word")
    if text != printable(text):  # JSON can hold half of a surrogate pair, which no tokenizer takes
        raise UnusableClip("the text is not valid Unicode")
    return " ".join(text.split())


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line that is not blank with its number, counted from 1, as UTF-8 without a byte-order mark.

    Lines are bytes, so that one row in another encoding does not cost the others, and because `str.splitlines` also
    splits at characters such as U+2028 that occur inside texts.
    """
    content = read_text_file(path).content
    if b"\n" not in content:  # old Macintosh lists end their lines with a carriage return alone
        content = content.replace(b"\r", b"\n")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield number, line.rstrip(b"\r")


def first_line(path: Path) -> str:
    """The first line that is not blank, or an empty string; raises `UnusableClip` if it is not UTF-8."""
    return next((decode_line(line) for _, line in numbered_lines(path)), "")


def beginning(path: Path) -> str:
    """How a file begins, for error messages."""
    if not path.is_file():
        return "none"
    try:
        line = first_line(path).strip()
    except UnusableClip:
        return "a first line that is not UTF-8 text; save it as UTF-8"
    if not line:
        return "an empty file"
    return f"'{line[:MAX_CHARACTERS_SHOWN]}{'...' if len(line) > MAX_CHARACTERS_SHOWN else ''}'"
