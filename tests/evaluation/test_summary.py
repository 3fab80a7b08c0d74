"""What is said of systems: means, verdicts, and why there is none."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from calm_ft.evaluation.clips import Scored
from calm_ft.evaluation.kept_audio import Timing
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.evaluation.scoring import score
from calm_ft.evaluation.summary import compare, doubts_about, means_of, notes_of, timing_of, warnings_of
from calm_ft.metrics.distortion import Distortion
from calm_ft.metrics.registry import FIGURES, MEASURED, TIMINGS
from calm_ft.report.result import FLAGS, Comparison, Difference
from tests.evaluation.conftest import TIMING, made, references, spoken
from tests.metrics.conftest import RATE_HZ, voiced

NUM_SENTENCES = 8
FIGURES_COMPARED = [*MEASURED, *TIMINGS]


def clips_of(name: str, means: Mapping[str, float], num_faulty: Mapping[str, int] | None = None) -> list[Scored]:
    """Clips of systems whose values of a figure lie closely around a mean; the first ones of a system run away."""
    spread = 0.01 * np.linspace(-1, 1, NUM_SENTENCES)
    return [
        made(system, index, flags=["runaway"] * (index < (num_faulty or {}).get(system, 0)), **{name: mean + off})
        for system, mean in means.items()
        for index, off in enumerate(spread * (1 + (system == "tuned")))
    ]


def judged(clips: Sequence[Scored], name: str) -> Difference:
    """What is said of the tuned system's difference from the base."""
    doubts = doubts_about(clips, FIGURES_COMPARED)
    return compare(clips, FIGURES_COMPARED, doubts).against_base["tuned"][name]


@pytest.mark.parametrize(
    ("name", "failing", "passing", "base", "tuned", "why"),
    [
        ("cer", {"reference": 0.68}, {"reference": 0.05}, 0.5, 0.3, "the recordings themselves have 0.68, .*most 0.2 "),
        ("wer", {"reference": 0.31}, {"reference": 0.29}, 0.5, 0.3, "the recordings themselves have 0.31, .*most 0.3 "),
        ("utmos", {"reference": 1.5}, {"reference": 3.9}, 1.2, 1.4, "themselves have 1.50, .*least 2 "),
        (
            "sentence_identified",
            {"reference": 1.0, "codec": 0.4},
            {"reference": 1.0, "codec": 0.9},
            0.5,
            0.8,
            "through the codec have 0.40, .*least 0.7 ",
        ),
    ],
)
def test_a_judge_that_fails_on_the_recordings_gives_no_verdict_and_says_why(
    name: str, failing: dict[str, float], passing: dict[str, float], base: float, tuned: float, why: str
) -> None:
    systems = {"base": base, "tuned": tuned}
    doubtful = judged(clips_of(name, {**failing, **systems}), name)
    assert doubtful.better is None
    assert doubtful.verdict(FIGURES[name].direction) == ""
    assert doubtful.doubt is not None
    assert re.search(why, doubtful.doubt)
    certain = judged(clips_of(name, {**passing, **systems}), name)
    assert (certain.better, certain.doubt) == (True, None)
    assert certain.verdict(FIGURES[name].direction) == "better"
    assert (certain.mean, certain.low, certain.high) == (doubtful.mean, doubtful.low, doubtful.high)
    worse = judged(clips_of(name, {**passing, "base": tuned, "tuned": base}), name)
    assert worse.verdict(FIGURES[name].direction) == "worse"


def test_without_the_recordings_through_the_codec_sentences_may_judge() -> None:
    assert judged(clips_of("sentence_identified", {"base": 0.5, "tuned": 0.8}), "sentence_identified").better is True


@pytest.mark.parametrize("name", ["rtf", "time_to_first_audio_sec"])
def test_times_are_never_compared(name: str) -> None:
    difference = judged(clips_of(name, {"base": 1.2, "tuned": 0.6}), name)
    assert difference.high is not None
    assert difference.high < 0
    assert difference.better is None
    assert difference.doubt == "times depend on what else the machine does."


def test_a_figure_with_no_good_side_and_too_few_sentences_get_no_verdict() -> None:
    assert judged(clips_of("duration_ratio", {"base": 1.0, "tuned": 2.0}), "duration_ratio").better is None
    few = [each for each in clips_of("mcd_db", {"base": 8.0, "tuned": 7.0}) if each.spoken.index < 5]
    assert judged(few, "mcd_db").better is None


@pytest.mark.parametrize("name", ["mcd_db", "log_f0_rmse", "voicing_error"])
@pytest.mark.parametrize("system", ["base", "tuned"])
def test_speech_that_does_not_end_casts_doubt_on_what_is_aligned_with_the_recording(name: str, system: str) -> None:
    means = {"reference": 0.0, "base": 8.0, "tuned": 7.0}
    doubtful = judged(clips_of(name, means, {system: 1}), name)
    assert doubtful.better is None
    assert f"too much of the {system} model's speech did not end" in str(doubtful.doubt)
    assert judged(clips_of(name, means), name).better is True
    assert judged(clips_of("utmos", {"reference": 4.0, "base": 2.0, "tuned": 3.0}, {system: 1}), "utmos").better is True


def test_silent_clips_cast_doubt_on_figures_that_leave_them_out_and_on_no_others() -> None:
    clips = [made("base", index, mcd_db=8.0 + 0.01 * index, wer=0.5) for index in range(NUM_SENTENCES)]
    clips += [
        made("tuned", index, flags=["silent"], mcd_db=None, wer=1.0)
        if index < 2
        else made("tuned", index, mcd_db=7.0 + 0.03 * index, wer=0.4)
        for index in range(NUM_SENTENCES)
    ]
    doubts = doubts_about(clips, FIGURES_COMPARED)
    assert doubts["mcd_db"] == "2 of 8 clips of the tuned model are silent, and the figure leaves them out."
    assert "wer" not in doubts
    assert judged(clips, "mcd_db").better is None


WAYS_OUT = {
    "runaway": ["trainer.max_steps", "adapter.eos_loss_weight", "export.which", "more recordings"],
    "silent": ["optimizer.lr", "export.which"],
    "truncated": ["data.tail_sec"],
}


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize(
    ("num_base", "num_tuned", "is_warned"),
    [(0, 4, True), (None, 4, True), (3, 4, True), (0, 1, True), (0, 0, False), (4, 4, False), (6, 4, False)],
)
def test_faults_are_said_with_their_number_and_the_ways_out_unless_the_base_has_as_many(
    flag: str, num_base: int | None, num_tuned: int, is_warned: bool
) -> None:
    clips = [made("tuned", index, flags=[flag] * (index < num_tuned)) for index in range(NUM_SENTENCES)]
    if num_base is not None:
        clips += [made("base", index, flags=[flag] * (index < num_base)) for index in range(NUM_SENTENCES)]
    warnings = warnings_of(compare(clips, [], {}))
    assert len(warnings) == is_warned
    if is_warned:
        beside = "" if num_base is None else f" (base: {num_base})"
        assert warnings[0].startswith(f"{num_tuned} of 8 clips of the tuned model: speech ")
        assert f"{beside}. To mend it: " in warnings[0]
        assert all(way in warnings[0] for way in WAYS_OUT[flag])


def test_one_clip_in_twenty_is_no_warning() -> None:
    clips = [made("tuned", index, flags=["runaway"] * (index == 0)) for index in range(20)]
    assert warnings_of(compare(clips, [], {})) == []
    assert warnings_of(Comparison(systems={})) == []


@pytest.mark.parametrize(
    ("name", "reference", "codec", "tuned", "is_limit"),
    [
        ("cer", 0.02, 0.12, 0.15, True),  # the codec takes .10, the tuning lacks .03 of what is left
        ("cer", 0.02, 0.04, 0.15, False),
        ("cer", 0.02, 0.02, 0.02, False),
        ("speaker_similarity_resemblyzer", 0.9, 0.65, 0.6, True),
        ("speaker_similarity_resemblyzer", 0.9, 0.85, 0.6, False),
        ("speaker_similarity_resemblyzer", 0.9, 0.7, 0.75, True),  # already better than the codec's round trip
        ("mcd_db", 0.0, 3.0, 8.0, False),
        ("duration_ratio", 1.0, 1.5, 1.6, False),  # neither side is good
    ],
)
def test_the_codec_is_named_where_it_takes_more_than_the_tuning_lacks(
    name: str, reference: float, codec: float, tuned: float, is_limit: bool
) -> None:
    clips = clips_of(name, {"reference": reference, "codec": codec, "tuned": tuned})
    compared, nothing = compare(clips, MEASURED, {}), Comparison(systems={})
    notes = notes_of(compared, nothing, {})
    assert len(notes) == is_limit
    if is_limit:
        figures = f"{FIGURES[name].label} ({reference:.2f} to {codec:.2f}, tuned {tuned:.2f})"
        assert notes == [f"The codec is the limit, more than the tuning, of: {figures}."]
    assert notes_of(compared, nothing, {name: "a judge that fails"}) == []
    without_codec = Comparison(systems={each: compared.systems[each] for each in ("reference", "tuned")})
    assert notes_of(without_codec, nothing, {}) == []


@pytest.mark.parametrize("name", ["cer", "wer"])
@pytest.mark.parametrize(
    ("base", "tuned", "recordings", "is_worse"),
    [(0.05, 0.12, 0.02, True), (0.05, 0.051, 0.02, False), (0.12, 0.05, 0.02, False), (0.5, 0.8, 0.6, False)],
)
def test_a_tuned_model_that_reads_worse_than_its_base_is_warned_of_unless_the_judge_fails(
    name: str, base: float, tuned: float, recordings: float, is_worse: bool
) -> None:
    clips = clips_of(name, {"reference": recordings, "base": base, "tuned": tuned})
    compared = compare(clips, MEASURED, doubts_about(clips, MEASURED))
    warnings, notes = warnings_of(compared), notes_of(Comparison(systems={}), compared, {})
    assert [len(warnings), len(notes)] == [is_worse, is_worse]
    if is_worse:
        low, high = (100 * getattr(compared.against_base["tuned"][name], side) for side in ("low", "high"))
        difference = f"5.0% to 12.0% (difference {low:+.1f} to {high:+.1f} points)"
        assert warnings[0].startswith(
            f"The tuned model reads worse than its base: {FIGURES[name].label} {difference}. To mend it: "
        )
        assert notes == [
            f"In other voices it reads worse than its base: {FIGURES[name].label} {difference}. data=replay keeps more "
            "of them."
        ]


def test_a_system_that_is_closer_to_the_recordings_is_better_and_the_other_way_round_worse() -> None:
    rng = np.random.default_rng(0)
    near = [spoken("tuned", voiced(120) + 0.001 * rng.standard_normal(RATE_HZ), i) for i in range(7)]
    far = [spoken("base", voiced(120) + 0.05 * rng.standard_normal(RATE_HZ), i) for i in range(7)]
    clips = score([*references().values(), *near, *far], references(), [Distortion()], {}, ScoreCache())
    compared = compare(clips, FIGURES_COMPARED, {})
    assert compared.against_base.keys() == {"tuned"}
    assert compared.against_base["tuned"]["mcd_db"].verdict("lower") == "better"
    assert compared.systems["reference"].mean("mcd_db") == 0.0
    assert compared.systems["reference"].rtf is None
    assert compared.systems["tuned"].rtf == pytest.approx(0.5)


def test_one_runaway_moves_the_mean_and_not_the_median() -> None:
    clips = [made("tuned", index, duration_ratio=10.0 if index == 0 else 1.0) for index in range(7)]
    figure = compare(clips, FIGURES_COMPARED, {}).systems["tuned"].metrics["duration_ratio"]
    assert figure.median == 1.0
    assert figure.mean is not None
    assert figure.mean > 2


def test_repeats_are_averaged_for_each_sentence_and_their_spread_is_said() -> None:
    clips = [made("tuned", index, seed, cer=0.1 * index + 0.01 * seed) for index in range(3) for seed in range(2)]
    figure = compare(clips, FIGURES_COMPARED, {}).systems["tuned"].metrics["cer"]
    assert (figure.n, figure.mean) == (3, pytest.approx(0.105))
    assert figure.seeds is not None
    assert (figure.seeds.num_seeds, figure.seeds.low, figure.seeds.high) == (2, pytest.approx(0.1), pytest.approx(0.11))


def test_the_real_time_factor_is_all_generation_over_all_audio() -> None:
    short, long = TIMING, Timing(3.0, 0.1, 9.0, "another machine", "2026-01-02T00:00:00+00:00")
    clips = [made("tuned", 0, timing=short), made("tuned", 1, timing=long), made("tuned", 2)]
    assert compare(clips, [], {}).systems["tuned"].rtf == pytest.approx(3.5 / 10.0)
    timing = timing_of(clips)
    assert timing["conditions"] == ["another machine", "one machine"]
    assert timing["measured"] == {"from": short.measured_at, "to": long.measured_at}
    assert timing_of([made("tuned")])["measured"] is None


def test_means_over_clips_leave_out_what_was_not_measured_and_count_faults_as_shares() -> None:
    means, counts = means_of([made("tuned", 0, cer=0.2), made("tuned", 1, flags=["silent"], cer=None)])
    assert (means["cer"], counts["cer"]) == (0.2, 1)
    assert (means["silent"], means["runaway"], counts["silent"]) == (0.5, 0.0, 2)
