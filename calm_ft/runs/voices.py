"""What the voices command does: add, list, remove and play voices of the library."""

from collections.abc import Sequence
from pathlib import Path

from calm_ft.adapters.voice_library import READY_SUFFIXES, LibraryVoice, VoiceLibrary, VoiceNotes, check_ready
from calm_ft.runs.exports import adapter_for, synthesize_to_file, written_line


def add_voice(
    name: str, recordings: Sequence[Path], licence: str, consent: str, model: str | None, replace: bool
) -> list[str]:
    """Keep recordings, or a ready voice file, and make a voice of them for a model where one is given.

    Returns what to print. Raises UserError as `VoiceLibrary.add` does, and where the model cannot be had or cannot
    make or read the voice.
    """
    library = VoiceLibrary()
    adapter = None if model is None else adapter_for(model)
    system = None
    if adapter is not None and len(recordings) == 1 and recordings[0].suffix in READY_SUFFIXES:
        check_ready(recordings[0])
        adapter.load_voice(recordings[0])  # a file of another system is refused before it is kept
        system = adapter.name
    added = library.add(name, recordings, VoiceNotes(licence, consent), replace, system)
    lines = [f"left out {each.path}: {each.reason}" for each in added.left_out]
    lines.append(f"added {_described(added.voice)} to {library.folder / name}")
    if not consent:
        lines.append("note: --consent keeps a note of who agreed to the use of this voice, and to what")
    if adapter is not None and system is None:
        library.voice(name, adapter)
        lines.append(f"made for {adapter.name}")
    return lines


def voice_lines() -> list[str]:
    """One line a voice."""
    library = VoiceLibrary()
    lines = []
    for name in library.names():
        voice = library.entry(name)
        made = library.systems(name)
        notes = [f"licence: {voice.licence}" if voice.licence else "", f"consent: {voice.consent or 'not noted'}"]
        for_systems = f"made for {', '.join(made)}" if made else ""
        known = [part for part in (_described(voice), f"added {voice.added}", *notes, for_systems) if part]
        lines.append("; ".join(known))
    return lines or [f"no voices yet in {library.folder}"]


def remove_voice(name: str) -> list[str]:
    """Remove one voice; returns what to print. Raises UserError where there is none of that name."""
    VoiceLibrary().remove(name)
    return [f"removed {name}"]


def play_voice(name: str, text: str, model: str, output: Path, seed: int) -> list[str]:
    """Speak a text in a voice of the library; returns what to print.

    Raises UserError as `synthesize_to_file` does, and where the library has no voice of that name.
    """
    VoiceLibrary().entry(name)
    spoken = synthesize_to_file(model, text, name, output, seed, None, None)
    return [written_line(spoken, output)]


def _described(voice: LibraryVoice) -> str:
    if voice.ready is not None:
        return f"{voice.name} (a ready file{f' of {voice.system}' if voice.system else ''}, {voice.ready})"
    files = ", ".join(part.name for part in voice.parts)
    return f"{voice.name} ({voice.duration_sec:.1f} s: {files})"
