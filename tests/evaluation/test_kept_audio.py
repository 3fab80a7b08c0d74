"""Kept audio: what comes back, what counts as none, and what is left on the disk."""

from pathlib import Path

import pytest

from calm_ft.errors import UserError
from calm_ft.evaluation.kept_audio import KeptAudio, KeptClip, Timing

TIMING = Timing(0.5, 0.1, 1.0, "one machine", "2026-01-01T00:00:00+00:00")
CLIP = KeptClip(b"RIFF and so on", ended=False, timing=TIMING)


def test_what_was_put_comes_back_in_another_process_with_its_timing(tmp_path: Path) -> None:
    KeptAudio(tmp_path).put("a", CLIP)
    again = KeptAudio(tmp_path)
    assert again.get("a") == CLIP
    assert again.get("b") is None


def test_a_timing_is_added_to_what_is_there(tmp_path: Path) -> None:
    kept = KeptAudio(tmp_path)
    kept.put("a", KeptClip(CLIP.wav, ended=True))
    assert kept.add_timing("a", TIMING) == KeptAudio(tmp_path).get("a") == KeptClip(CLIP.wav, True, TIMING)


@pytest.mark.parametrize("suffix", ["wav", "json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"RIFF and so"])
def test_a_damaged_file_counts_as_none(suffix: str, content: bytes, tmp_path: Path) -> None:
    KeptAudio(tmp_path).put("a", CLIP)
    (tmp_path / f"a.{suffix}").write_bytes(content)
    assert KeptAudio(tmp_path).get("a") is None


def test_what_another_folder_holds_is_taken_over_and_that_folder_left_as_it_was(tmp_path: Path) -> None:
    KeptAudio(tmp_path / "other").put("a", CLIP)
    kept = KeptAudio(tmp_path / "own", [tmp_path / "none", tmp_path / "other"])
    assert kept.get("a") == CLIP == KeptAudio(tmp_path / "own").get("a")
    kept.forget_unused()
    assert KeptAudio(tmp_path / "other").get("a") == CLIP


def test_what_nobody_asked_for_is_forgotten(tmp_path: Path) -> None:
    for key in ("a", "b"):
        KeptAudio(tmp_path).put(key, CLIP)
    kept = KeptAudio(tmp_path)
    kept.get("b")
    kept.put("c", CLIP)
    kept.forget_unused()
    assert {path.stem for path in tmp_path.iterdir()} == {"b", "c"}


def test_a_place_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .* pass another --output-dir"):
        KeptAudio(tmp_path / "file" / "spoken").put("a", CLIP)


def test_without_a_folder_clips_are_kept_in_memory_alone() -> None:
    kept = KeptAudio(None)
    kept.put("a", CLIP)
    assert kept.get("a") == CLIP
    assert kept.add_timing("a", TIMING).timing == TIMING
    kept.forget_unused()
    assert KeptAudio(None).get("a") is None
