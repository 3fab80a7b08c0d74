"""A second evaluation: what is said and measured anew, and what is taken from the first."""

import shutil
from pathlib import Path

import pytest

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.metrics.distortion import Distortion
from calm_ft.runs import relocate_export
from tests.scripts.evaluation_run import NO_BASE_VOICES, evaluate_run, rows_of, summary_of

NUM_SENTENCES = 3


class Counts:
    """How many texts were said (timing says some of them again) and clips measured; may stop the speaking."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.num_calls = 0
        self.num_measured = 0
        self.stop_before_call: int | None = None
        synthesize, measure = PocketTTSAdapter.synthesize, Distortion._measure

        def counted_synthesize(adapter, texts, *arguments, **settings):
            if self.num_calls == self.stop_before_call:
                raise KeyboardInterrupt
            self.num_calls += 1
            self.said += texts
            return synthesize(adapter, texts, *arguments, **settings)

        def counted_measure(metric, clip):
            self.num_measured += 1
            return measure(metric, clip)

        monkeypatch.setattr(PocketTTSAdapter, "synthesize", counted_synthesize)
        monkeypatch.setattr(Distortion, "_measure", counted_measure)

    def reset(self) -> None:
        self.said, self.num_calls, self.num_measured, self.stop_before_call = [], 0, 0, None


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    monkeypatch.setattr(PocketTTSAdapter, "max_synthesis_batch", 2)
    monkeypatch.setattr("calm_ft.evaluation.evaluator.NUM_TIMED", 1)
    return Counts(monkeypatch)


@pytest.fixture
def unevaluated(finished_run: Path, tmp_path: Path) -> Path:
    """The run without the evaluation that it made itself."""
    run = shutil.copytree(finished_run, tmp_path / "unevaluated")
    shutil.rmtree(run / "evaluation")
    relocate_export(run)
    return run


def arguments(run_dir: Path, recordings: Path, folder: Path, num_sentences: int = NUM_SENTENCES) -> list[object]:
    chosen = ["--heldout-path", recordings, "--num-sentences", num_sentences, "--asr", "none"]
    return [run_dir, *chosen, *NO_BASE_VOICES, "--output-dir", folder]


@pytest.mark.slow
def test_a_second_call_neither_speaks_nor_measures_nor_times_and_says_the_same(
    unevaluated: Path, recordings_dir: Path, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(unevaluated, recordings_dir, tmp_path / "out")
    assert evaluate_run(monkeypatch, *given) == 0
    first, clips = (
        summary_of(tmp_path / "out"),
        {path.name: path.read_bytes() for path in (tmp_path / "out" / "audio").iterdir()},
    )
    # Each of two systems: the sentences, and one of them twice for its timing, of which the first is a warm-up.
    assert len(counts.said) >= 2 * (NUM_SENTENCES + 2)
    assert counts.num_measured > 0
    counts.reset()
    assert evaluate_run(monkeypatch, *given) == 0
    assert (counts.said, counts.num_measured) == ([], 0)
    assert summary_of(tmp_path / "out") == first  # with its timings, and when they were measured
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "audio").iterdir()} == clips


@pytest.mark.slow
def test_on_another_machine_sentences_are_timed_anew_and_nothing_else_is_said(
    unevaluated: Path, recordings_dir: Path, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(unevaluated, recordings_dir, tmp_path / "out")
    assert evaluate_run(monkeypatch, *given) == 0
    counts.reset()
    monkeypatch.setattr("calm_ft.evaluation.speaking.timing_conditions", lambda _: "another machine")
    assert evaluate_run(monkeypatch, *given) == 0
    (timed,) = {row["text"] for row in rows_of(tmp_path / "out") if row["system"] == "tuned" and row["metrics"]["rtf"]}
    assert set(counts.said) == {timed}
    assert summary_of(tmp_path / "out")["timing"]["conditions"] == ["another machine"]


@pytest.mark.slow
def test_an_interrupted_evaluation_keeps_what_was_said_and_the_next_goes_on_from_there(
    unevaluated: Path,
    recordings_dir: Path,
    tmp_path: Path,
    counts: Counts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = arguments(unevaluated, recordings_dir, tmp_path / "out")
    counts.stop_before_call = 1
    assert evaluate_run(monkeypatch, *given) == 0
    assert "goes on from there" in capsys.readouterr().out
    already = list(counts.said)
    assert len(already) == 2
    assert not (tmp_path / "out" / "summary.json").exists()
    counts.reset()
    assert evaluate_run(monkeypatch, *given) == 0
    texts = {row["text"] for row in rows_of(tmp_path / "out")}
    left = [text for text in texts if text not in already]
    assert sorted(counts.said[: len(left)]) == sorted(left)  # the base's own turn; timing and the tuned model follow


@pytest.mark.slow
def test_more_sentences_are_said_without_saying_the_first_again(
    unevaluated: Path, recordings_dir: Path, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_ft.evaluation.evaluator.NUM_TIMED", 0)
    assert evaluate_run(monkeypatch, *arguments(unevaluated, recordings_dir, tmp_path / "out", 2)) == 0
    known = {row["text"]: row["audio"] for row in rows_of(tmp_path / "out") if row["system"] == "tuned"}
    before = {text: (tmp_path / "out" / audio).read_bytes() for text, audio in known.items()}
    counts.reset()
    assert evaluate_run(monkeypatch, *arguments(unevaluated, recordings_dir, tmp_path / "out", 4)) == 0
    assert len(counts.said) == 4
    assert not set(counts.said) & set(known)
    after = {
        row["text"]: (tmp_path / "out" / row["audio"]).read_bytes()
        for row in rows_of(tmp_path / "out")
        if row["system"] == "tuned"
    }
    assert before.items() <= after.items()


@pytest.mark.slow
def test_a_base_that_spoke_for_the_run_is_not_asked_again_for_its_export(
    unevaluated: Path, recordings_dir: Path, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "run"
    shutil.copytree(unevaluated, own)
    relocate_export(own)
    assert evaluate_run(monkeypatch, *arguments(own, recordings_dir, own / "evaluation")) == 0
    counts.reset()
    assert evaluate_run(monkeypatch, *arguments(own / "export", recordings_dir, own / "export" / "evaluation")) == 0
    base = {row["text"]: row["metrics"] for row in rows_of(own / "evaluation") if row["system"] == "base"}
    assert {
        row["text"]: row["metrics"] for row in rows_of(own / "export" / "evaluation") if row["system"] == "base"
    } == base
    assert len(counts.said) <= NUM_SENTENCES + 2 * 2  # the export at most


@pytest.mark.slow
def test_other_weights_another_prompt_and_a_damaged_clip_are_said_anew(
    unevaluated: Path, recordings_dir: Path, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_ft.evaluation.evaluator.NUM_TIMED", 0)
    given = arguments(unevaluated, recordings_dir, tmp_path / "out", 1)
    assert evaluate_run(monkeypatch, *given) == 0
    for damaged in list((tmp_path / "out" / "spoken").glob("*.wav"))[:1]:
        damaged.write_bytes(damaged.read_bytes()[:-100])
    counts.reset()
    assert evaluate_run(monkeypatch, *given) == 0
    assert len(counts.said) == 1
    counts.reset()
    assert evaluate_run(monkeypatch, *given, "--voice", sorted(recordings_dir.glob("*.ogg"))[0]) == 0
    assert len(counts.said) == 2
    assert len(list((tmp_path / "out" / "spoken").glob("*.wav"))) == 2  # of the former prompt nothing is left


def test_what_a_run_said_at_its_end_is_not_said_again(
    finished_run: Path, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_ft.evaluation.evaluator.NUM_TIMED", 0)
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = {row["system"]: (run / "evaluation" / row["audio"]).read_bytes() for row in rows_of(run / "evaluation")}
    assert evaluate_run(monkeypatch, run, "--asr", "none", *NO_BASE_VOICES) == 0
    assert (counts.said, counts.num_measured) == ([], 0)
    after = {row["system"]: (run / "evaluation" / row["audio"]).read_bytes() for row in rows_of(run / "evaluation")}
    assert before == after
