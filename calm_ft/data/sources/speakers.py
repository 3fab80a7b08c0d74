"""Who speaks in each clip: by a column, by the folder that the clip lies in, or one speaker for all.

A clip's folder is the first part of its id that does not merely hold audio or a split: `wavs/anna/1` and
`anna/session2/1` are both spoken by anna, and `wavs/1` names no speaker.
"""

from collections.abc import Callable
from dataclasses import replace

from calm_ft.data.sources.recordings import Recordings
from calm_ft.data.utterance import DEFAULT_SPEAKER, Utterance
from calm_ft.errors import UserError

SPEAKER_MODES = ("auto", "column", "folder", "one")
CONTAINERS = ("..", "wavs", "wav", "clips", "audio", "data", "train", "validation", "valid", "dev", "test")


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
    named = any(utterance.speaker for utterance in recordings.utterances)
    in_folders = any(folder_speaker(utterance) for utterance in recordings.utterances)
    if not recordings.utterances or mode == "one":
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
        _rename(recordings, lambda utterance: utterance.speaker or DEFAULT_SPEAKER)
    else:
        _rename(recordings, lambda utterance: folder_speaker(utterance) or DEFAULT_SPEAKER)


def folder_speaker(utterance: Utterance) -> str:
    """The folder that names the speaker, or an empty string."""
    folders = utterance.id.strip("/").split("/")[:-1]
    return next((folder for folder in folders if folder.lower() not in CONTAINERS), "")


def _rename(recordings: Recordings, speaker_of: Callable[[Utterance], str]) -> None:
    recordings.utterances = [replace(each, speaker=speaker_of(each)) for each in recordings.utterances]


def _exclude_nameless(recordings: Recordings) -> None:
    for utterance in recordings.utterances:
        if not utterance.speaker:
            recordings.exclude(recordings.places[utterance.id], "the row names no speaker")
    recordings.utterances = [utterance for utterance in recordings.utterances if utterance.speaker]
