"""What export.py and synthesize.py say of runs and exports that are damaged, and of places that cannot be written."""

from dataclasses import dataclass

import pytest

from calm_ft.runs import relocate_export
from scripts import export, synthesize
from tests.scripts.bad_input.place import Place, limit_file_size
from tests.scripts.bad_input.preparations import cut_in_half
from tests.scripts.run_script import run

TO_FILE = ["--text", "Hello there.", "--output"]


@dataclass(frozen=True)
class Fault:
    """What is cut in half in the run, the arguments (with {run} and {here}), what is said, room on the disk."""

    damaged: str
    arguments: list[str]
    said: str
    room: int | None = None


EXPORT = {
    "no run": Fault("nothing", ["{here}"], "is not a run's folder"),
    "damaged configuration": Fault("config.yaml", ["{run}"], "config.yaml is damaged"),
    "damaged best checkpoint": Fault("checkpoints/best.ckpt", ["{run}"], "--which=last"),
    "into a file": Fault("nothing", ["{run}", "--output-dir", "{here}/file"], "is a file"),
    "into other files": Fault("nothing", ["{run}", "--output-dir", "{here}"], "holds other files"),
    "onto a read-only disk": Fault("nothing", ["{run}", "--output-dir", "/proc/export"], "cannot be written"),
    "onto a full disk": Fault("nothing", ["{run}"], "cannot be written", room=100_000),
    "relocating what is damaged": Fault("export/config.yaml", ["{run}", "--relocate"], "config.yaml is damaged"),
    "relocating on a full disk": Fault("nothing", ["{run}", "--relocate"], "cannot be written", room=100),
}
SYNTHESIZE = {
    "unknown voice": Fault("nothing", ["{run}", "--voice", "nobody", *TO_FILE, "{here}/said.wav"], "no voice nobody"),
    "no export": Fault("nothing", ["{here}", *TO_FILE, "{here}/said.wav"], "holds no export"),
    "damaged weights": Fault("export/model.safetensors", ["{run}", *TO_FILE, "{here}/said.wav"], "damaged"),
    "damaged configuration": Fault("export/config.yaml", ["{run}", *TO_FILE, "{here}/said.wav"], "config"),
    "damaged voice": Fault("export/voice.safetensors", ["{run}", *TO_FILE, "{here}/said.wav"], "voice"),
    "damaged tokenizer": Fault("export/tokenizer.model", ["{run}", *TO_FILE, "{here}/said.wav"], "damaged"),
    "below a file": Fault("nothing", ["{run}", *TO_FILE, "{here}/file/said.wav"], "cannot be written"),
    "onto a read-only disk": Fault("nothing", ["{run}", *TO_FILE, "/proc/said.wav"], "cannot be written"),
    "onto a full disk": Fault("nothing", ["{run}", *TO_FILE, "{here}/said.wav"], "cannot be written", room=2200),
}
FAULTS = {
    **{f"export: {name}": (export, fault) for name, fault in EXPORT.items()},
    **{f"synthesize: {name}": (synthesize, fault) for name, fault in SYNTHESIZE.items()},
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_one_sentence_and_leaves_everything_as_it_was(
    what: str, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, fault = FAULTS[what]
    place.interrupted_run()
    relocate_export(place.run)
    for path in place.run.glob(fault.damaged):
        cut_in_half(path)
    (place.here / "file").write_text("Chapter one.")
    before = place.tree()
    limit_file_size(fault.room)
    try:
        arguments = [place.filled_in(each) for each in fault.arguments]
        assert run(monkeypatch, script, *arguments) == 2
    finally:
        limit_file_size(None)
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert fault.said in line
    assert place.tree() == before
