"""The languages of Chatterbox Multilingual, and which of them can be given to it here.

Sources: chatterbox/mtl_tts.py (`SUPPORTED_LANGUAGES`), chatterbox/models/tokenizers/tokenizer.py (`MTLTokenizer`).
"""

from pathlib import Path

from calm_ft.errors import UserError

LANGUAGE_FILE = "language.txt"
"""Beside a model's files: the language that it is to speak. Exports have one, for stock is told the language anew."""
GREETINGS = {
    "ar": "مرحبا.",
    "da": "Hej med dig.",
    "de": "Guten Tag.",
    "el": "Καλημέρα.",
    "en": "Hello there.",
    "es": "Buenos días.",
    "fi": "Hyvää päivää.",
    "fr": "Bonjour à tous.",
    "hi": "नमस्ते।",
    "it": "Buongiorno.",
    "ko": "안녕하세요.",
    "ms": "Selamat pagi.",
    "nl": "Goedendag.",
    "no": "God dag.",
    "pl": "Dzień dobry.",
    "pt": "Bom dia.",
    "sv": "God morgon.",
    "sw": "Habari yako.",
    "tr": "Merhaba.",
}
"""What an export says first, by each language that can be given to the model."""
NEEDS = {
    "he": "the package dicta-onnx, which adds the vowels",
    "ja": "the package pykakasi, which writes kanji as kana",
    "ru": "the package russian-text-stresser, which is in no registry of packages and marks the stress",
    "zh": "the package spacy-pkuseg, which cuts words, and the table Cangjie5_TC.json, by which characters are spelled",
}
"""What upstream prepares the other languages' texts with; without it, it reads them unprepared."""


def check_language(language: str | None, of_the_files: str | None) -> str:
    """The language, if it can be given to a model whose files name the language `of_the_files`.

    Raises UserError where it cannot be, and where there is none.
    """
    if language is None:
        raise UserError(
            f"adapter.language is missing, by which Chatterbox Multilingual reads a text: give one of {_all()}, as in "
            "adapter.language=fr."
        )
    if language not in GREETINGS and language != of_the_files:
        raise UserError(f"adapter.language={language} cannot be spoken: {fault_of(language)}.")
    return language


def fault_of(language: str) -> str:
    """Why the model cannot be given a text in a language, as a clause."""
    if language in NEEDS:
        return (
            f"Chatterbox reads {language} well only with {NEEDS[language]}, and that is not part of this project; "
            f"without it, the text would be read unprepared and worse; what it can be given here: {_all()}"
        )
    return (
        f"Chatterbox Multilingual has not learned {language}; it has {_all()} (experiment=chatterbox_new_language "
        "teaches it another)"
    )


def language_beside(folder: Path) -> str | None:
    """The language that a folder of a model's files names, None where it names none."""
    path = folder / LANGUAGE_FILE
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else None


def _all() -> str:
    return ", ".join(GREETINGS)
