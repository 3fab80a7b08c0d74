"""The kinds of problems: how bad each is, what it is called, and how a person mends it."""

from dataclasses import dataclass

from calm_ft.preparation.clips import Severity


@dataclass(frozen=True)
class Kind:
    """One kind; `title` is what its clips are, after their number."""

    severity: Severity
    title: str
    mend: str


LET_IN = 'set "use": true in excluded.jsonl for those that are good after all'
CORRECT = "correct the texts on the page (--serve) or in corrections.jsonl"
LEAVE_OUT = 'leave them out with "use": false in corrections.jsonl'
CLEAN = f"clean them (--clean-command), or {LEAVE_OUT}"
NOTHING = "nothing needs to be done"

KINDS: dict[str, Kind] = {
    # Files and rows that never became a clip.
    "unreadable": Kind("error", "files or rows cannot be read", "see the reason of each in excluded.jsonl"),
    "no_text": Kind(
        "error",
        "recordings have no text and were not transcribed",
        "run again with --transcribe faster-whisper:small (or, for English without a download, --language en "
        "--transcribe moonshine), or put a text of the same name beside each",
    ),
    "no_speech": Kind("error", "recordings hold no speech", "check that the right channel and file were recorded"),
    "no_alignment": Kind(
        "error",
        "long recordings have a text that could not be matched to their sound",
        "run again with --transcribe faster-whisper:small, or cut them into clips with a text each",
    ),
    "too_long": Kind("error", "clips are too long", "cut them, or give their text so that they are split with it"),
    "too_short": Kind("warning", "clips are very short", "they train, but never judge; longer ones teach more melody"),
    # Text.
    "wrong_text": Kind("error", "texts do not match what is said", f"{CORRECT}, or {LET_IN}"),
    "unsure_text": Kind("error", "transcribed texts are probably wrong", f"{CORRECT}, or {LET_IN}"),
    "text_too_long": Kind(
        "error", "texts are too long for their sound", f"the clip is cut or the text wrong: {CORRECT}"
    ),
    "text_too_short": Kind("error", "texts are too short for their sound", f"words are missing: {CORRECT}"),
    "no_words": Kind("error", "texts have nothing to say in them", CORRECT),
    "other_language": Kind("error", "texts are in another language", LET_IN),
    "language_doubted": Kind(
        "warning",
        "texts seem to be in another language than the one that was given",
        "give the language that they are in (--language, or the list's column)",
    ),
    "one_word": Kind(
        "warning", "clips say a single word", "they train, but never judge; longer sentences teach more melody"
    ),
    "remarks": Kind("note", "texts held remarks that are not spoken, now removed", CORRECT),
    "repeated_text": Kind("note", "clips share their text with others", "they are kept in the same split"),
    "unread_characters": Kind(
        "warning",
        "texts hold characters that the tokenizer does not know",
        "the model does not read them, unless its settings replace them before: write them in letters that it knows, "
        "on the page (--serve) or in corrections.jsonl, or train a model that knows them",
    ),
    # Voices and copies.
    "other_voice": Kind("error", "clips are probably of another person", f"name the speakers, or {LET_IN}"),
    "unlike_voice": Kind(
        "note",
        "clips sound unlike their speaker's others",
        f"often only short or lively ones: listen, or {LEAVE_OUT}",
    ),
    "duplicate": Kind("error", "clips are copies of others", f"{NOTHING}: one of each is kept"),
    "same_sound_other_text": Kind("error", "clips have the same sound and different texts", CORRECT),
    "left_out_by_hand": Kind("note", "clips were left out by hand", 'remove "use": false in corrections.jsonl'),
    # Sound.
    "silent": Kind("error", "clips are silent", "check that the right channel and file were recorded"),
    "integer_samples": Kind(
        "error", "files hold integers as floating point", "save them as 16-bit, or divide their samples by 32768"
    ),
    "not_a_number": Kind("error", "files hold samples that are no number", "export them again"),
    "above_full_scale": Kind("note", "clips were above full scale and are turned down", NOTHING),
    "offset": Kind("note", "clips had a constant offset, now removed", NOTHING),
    "reversed_polarity": Kind("note", "clips had channels that cancel each other; the louder is used", NOTHING),
    "silent_channel": Kind("note", "clips had a silent channel", NOTHING),
    "clipped": Kind("warning", "clips are distorted by clipping", f"record again at a lower level, or {LEAVE_OUT}"),
    "too_quiet": Kind("warning", "clips were recorded far too quietly", f"their noise was raised too: {LEAVE_OUT}"),
    "noisy": Kind("warning", "clips are noisy", CLEAN),
    "music": Kind("warning", "clips have music, hum or voices behind the speech", CLEAN),
    "reverberant": Kind("warning", "clips are reverberant", CLEAN),
    "voices_at_once": Kind(
        "warning", "clips have two people who speak at once", f"their texts are of one of them: {LEAVE_OUT}"
    ),
    "narrow_band": Kind(
        "warning", "clips sound dull, as over a telephone", "the model learns this sound: use better originals if any"
    ),
    "cut_start": Kind("warning", "clips start in the middle of sound", f"cut them earlier, or {LEAVE_OUT}"),
    "cut_end": Kind("warning", "clips end in the middle of sound", f"cut them later, or {LEAVE_OUT}"),
    "mostly_silence": Kind("warning", "clips are mostly silence", f"cut them, or {LEAVE_OUT}"),
    "long_pause": Kind("warning", "clips hold a long pause", f"the model learns to pause: cut them, or {LEAVE_OUT}"),
    # The whole set.
    "unrelated_texts": Kind(
        "warning",
        "speakers' texts do not fit their clips",
        "the list of texts is probably shifted by a row or mixed up: compare a few clips with their texts",
    ),
    "unjudged_texts": Kind(
        "warning",
        "speakers' texts could not be checked",
        "either most of the texts are wrong, or what checks them does not understand the voice: listen to a few",
    ),
    "weak_transcripts": Kind(
        "warning",
        "clips were transcribed by a weak recogniser, which mishears many words",
        f"{CORRECT} before you train, or run again with --transcribe faster-whisper:small",
    ),
    "small_set": Kind("warning", "speakers have little speech", "record more: see the page for how much is enough"),
    "unbalanced": Kind(
        "warning", "speakers differ much in how long they speak", "record more of those that speak least"
    ),
    "one_voice": Kind("warning", "speakers sound like one person", "give --speakers one if they are"),
    "few_heldout": Kind(
        "note",
        "sets are too small to judge by",
        "figures on fewer than 20 held-out clips seldom tell two models apart: add recordings",
    ),
}


def kind_of(name: str) -> Kind:
    """The kind of that name; a fault of the sound that has no entry is a warning."""
    if name in KINDS:
        return KINDS[name]
    return Kind("warning", f"clips: {name.replace('_', ' ')}", "listen to them on the page; leave out what is bad")
