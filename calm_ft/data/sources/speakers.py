"""Who speaks in each clip: by a column, by the folder that the clip lies in, or one speaker for all.

A clip's folder is the first part of its id that does not merely hold audio or a split: `wavs/anna/1` and
`anna/session2/1` are both spoken by anna, and `wavs/1` names no speaker. Unless the user says that folders are
speakers, a folder whose name is that of a session, a date or a chapter names no speaker either, nor does a single
folder with clips beside it. What was decided is said in the notes.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

from calm_ft.data.sources.finding_audio import AUDIO_TREES, TEXT_TREES
from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.utterance import DEFAULT_SPEAKER, Utterance
from calm_ft.errors import UserError

SPEAKER_MODES = ("auto", "column", "folder", "one")
CONTAINERS = frozenset(("..", "data", *AUDIO_TREES, *TEXT_TREES))
SPLIT = re.compile(r"(train|training|validation|valid|val|dev|test|eval)([-_](clean|other|[0-9]+).*)?")
SESSION = re.compile(
    r"(session|sess|sitting|day|week|month|part|chapter|chap|ch|disc|disk|cd|take|set|batch|book|volume|vol|track|"
    r"recording|rec|section|lesson|unit|scene|group|folder|new folder|extra|more|misc|old|new|raw|clean|best|done|"
    r"sitzung|tag|woche|teil|kapitel|aufnahme|jour|partie|chapitre|seance|enregistrement|sesion|dia|parte|capitulo|"
    r"grabacion|sessione|giorno|capitolo|registrazione)(e|s|es|en|i)?[ _.-]*[0-9]*[a-z]?"
    r"|[0-9]{4}[-_. ]?[0-9]{2}[-_. ]?[0-9]{2}.*|[0-9]{1,2}[-_. ][0-9]{1,2}[-_. ][0-9]{2,4}.*|[0-9]{1,2}"
)
# In a column, this many clips of as many speakers are more likely clips than people.
MIN_CLIPS_FOR_DOUBT = 10
NUM_NAMED = 3


def check_mode(mode: str | None) -> None:
    """Raises `UserError` for an unknown mode; None stands for auto."""
    if mode is not None and mode not in SPEAKER_MODES:
        raise UserError(f"data.speakers={mode} is unknown; it is one of {', '.join(SPEAKER_MODES)}, or null for auto.")


def assign_speakers(recordings: Recordings, mode: str | None) -> None:
    """Gives every utterance its speaker; with `column`, clips whose row names no speaker are excluded.

    `auto` or None takes the column if any row names a speaker, else the folders of audio-text pairs, else one speaker.

    Raises:
        UserError: no row names a speaker (`column`), or no clip lies in a speaker's folder (`folder`).
    """
    clips = [*recordings.utterances, *recordings.textless]
    named = any(utterance.speaker for utterance in clips)
    in_folders = any(folder_speaker(utterance) for utterance in clips)
    if not clips or mode == "one":
        _rename(recordings, lambda utterance: DEFAULT_SPEAKER)
    elif mode == "column":
        if not named:
            raise UserError(
                f"data.speakers=column, but no row of {recordings.source} names a speaker; name the column 'speaker'."
            )
        _exclude_nameless(recordings)
    elif mode == "folder":
        if not in_folders:
            raise UserError(
                "data.speakers=folder, but no clip lies in a folder of its own; put each speaker's clips into one."
            )
        _rename(recordings, lambda utterance: folder_speaker(utterance) or DEFAULT_SPEAKER)
    elif named or recordings.format != "pairs":
        _note_a_speaker_per_clip(recordings)
        _rename(recordings, lambda utterance: utterance.speaker or DEFAULT_SPEAKER)
    else:
        _assign_likely_folders(recordings, clips)


def folder_speaker(utterance: Utterance) -> str:
    """The first folder that is not merely for audio or a split, or an empty string."""
    return next(iter(_folders(utterance)), "")


def _folders(utterance: Utterance) -> list[str]:
    folders = utterance.id.strip("/").split("/")[:-1]
    return [folder for folder in folders if folder.lower() not in CONTAINERS and not SPLIT.fullmatch(folder.lower())]


def _likely_speaker(utterance: Utterance) -> str:
    """The first folder that is not named as a session either."""
    name = utterance.id.rpartition("/")[2]
    return next((folder for folder in _folders(utterance) if not _is_session(folder, name)), "")


def _is_session(folder: str, clip: str) -> bool:
    if re.match(rf"{re.escape(folder)}[-_]", clip):  # LibriTTS: 84/121123/84_121123_000001
        return False
    plain = unicodedata.normalize("NFKD", folder.casefold())
    return SESSION.fullmatch("".join(each for each in plain if not unicodedata.combining(each))) is not None


def _assign_likely_folders(recordings: Recordings, clips: list[Utterance]) -> None:
    speakers = {each.id: _likely_speaker(each) for each in clips}
    names = sorted({name for name in speakers.values() if name})
    passed_over = sorted({folder_speaker(each) for each in clips} - {"", *names})
    if len(names) == 1 and "" in speakers.values():
        passed_over, names = sorted([*passed_over, *names]), []
        speakers = dict.fromkeys(speakers, "")
    if len(names) > 1:
        recordings.notes.append(
            f"the folders {_some_of(names)} are taken for speakers; data.speakers=one if it is one voice"
        )
    if passed_over and not names:
        recordings.notes.append(
            f"all clips are taken for one speaker, also those in the folders {_some_of(passed_over)}; "
            "data.speakers=folder makes each folder a speaker"
        )
    _rename(recordings, lambda utterance: speakers[utterance.id] or DEFAULT_SPEAKER)


def _note_a_speaker_per_clip(recordings: Recordings) -> None:
    names = [each.speaker for each in recordings.utterances if each.speaker]
    if len(names) >= MIN_CLIPS_FOR_DOUBT and len(set(names)) == len(names):
        recordings.notes.append(
            f"{recordings.source} names another speaker for every clip, such as {_some_of(names)}; "
            "data.speakers=one if it is one voice"
        )


def _some_of(names: list[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def _rename(recordings: Recordings, speaker_of: Callable[[Utterance], str]) -> None:
    recordings.utterances = [replace(each, speaker=speaker_of(each)) for each in recordings.utterances]
    recordings.textless = [replace(each, speaker=speaker_of(each)) for each in recordings.textless]


def _exclude_nameless(recordings: Recordings) -> None:
    for utterance in recordings.utterances:
        if not utterance.speaker:
            recordings.exclude(recordings.places[utterance.id], "the row names no speaker")
    recordings.utterances = [utterance for utterance in recordings.utterances if utterance.speaker]
    recordings.textless = [utterance for utterance in recordings.textless if utterance.speaker]
