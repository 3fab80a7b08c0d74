"""The parts of a page: charts, clips and pictures, sentences, wording."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from calm_ft.report.page.chart import HEIGHT, MAX_POINTS, WIDTH, Chart, Point, line_chart, scatter_chart
from calm_ft.report.page.media import PICTURE_HEIGHT, PICTURE_WIDTH, read_clip
from calm_ft.report.page.read_run import read_runs
from calm_ft.report.page.sentences import Sentences, sentences
from calm_ft.report.page.wording import Scrubber, number, quantity, without_paths
from tests.conftest import DEMO_TRAIN
from tests.report.page.made_runs import add_evaluation, make_run


def _places(chart: Chart) -> list[tuple[float, float]]:
    lines = [tuple(map(float, pair.split(","))) for line in chart.lines for pair in line.points.split()]
    return [(x, y) for x, y in lines] + [(mark.x, y) for mark in chart.marks for y in (mark.low, mark.y, mark.high)]


@pytest.mark.parametrize("values", [[1.0, 2.0, 0.5], [0.0, 0.0], [-3.0, 1e9], [7.0], [1e-9, 1e-9 + 1e-20]])
def test_curves_lie_within_their_chart(values: list[float]) -> None:
    chart = line_chart("loss", [("s0", "run", tuple((float(step), value) for step, value in enumerate(values)))])
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in _places(chart))
    assert len({tick.label for tick in chart.y_ticks}) == len(chart.y_ticks) > 0


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    curve = tuple((float(step), float(step)) for step in range(10_001))
    whole = line_chart("loss", [("s0", "run", (curve[0], curve[-1]))])
    thinned = line_chart("loss", [("s0", "run", curve)])
    places = _places(thinned)
    assert len(places) <= MAX_POINTS + 1
    assert [places[0], places[-1]] == _places(whole)


def test_costs_are_logarithmic_where_they_differ_much() -> None:
    points = [Point("s0", name, x, 5.0, 4.0, 6.0) for name, x in (("a", 1e4), ("b", 1e5), ("c", 1e6))]
    chart = scatter_chart("mcd", "trained parameters", points, base=7.0)
    a, b, c = (mark.x for mark in chart.marks)
    assert b - a == pytest.approx(c - b, abs=0.2)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in _places(chart))
    assert chart.marks[0].high < chart.marks[0].y < chart.marks[0].low  # upwards is less in SVG
    assert "base 7.00" in chart.description


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 24_000, 44_100, 96_000])
def test_a_clip_keeps_its_length_and_sound_at_any_rate(rate_hz: int, tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)[:, None] * [0.5, 0.3]
    soundfile.write(tmp_path / "tone.wav", tone, rate_hz)
    clip = read_clip(tmp_path / "tone.wav")
    assert clip is not None
    kind, _, content = clip.audio_uri.partition(";base64,")
    decoded, decoded_rate_hz = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:audio/ogg"
    assert decoded.size / decoded_rate_hz == pytest.approx(1.0, abs=0.001)
    assert np.abs(np.fft.rfft(decoded)).argmax() == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(decoded**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.05)


def test_a_picture_shows_the_clip_and_nothing_after_it() -> None:
    clip = read_clip(sorted(DEMO_TRAIN.glob("*.ogg"))[0])
    assert clip is not None
    content = base64.b64decode(clip.picture_uri(2 * clip.duration_sec).partition(",")[2])
    picture = Image.open(io.BytesIO(content))
    opaque = np.asarray(picture.convert("RGBA"))[..., 3] > 128
    assert picture.size == (PICTURE_WIDTH, PICTURE_HEIGHT)
    assert opaque[:, : PICTURE_WIDTH // 2 - 2].all()
    assert not opaque[:, PICTURE_WIDTH // 2 + 2 :].any()


@pytest.mark.parametrize("audio", [np.zeros(1), np.zeros(24_000), np.full(10, np.nan)])
def test_silence_and_very_short_clips_have_pictures_too(audio: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", audio, 24_000, "FLOAT")
    clip = read_clip(tmp_path / "clip.wav")
    assert clip is not None
    assert clip.audio_uri
    assert clip.picture_uri(clip.duration_sec)


def _empty_wav(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 24_000)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_bytes(b"noise"), _empty_wav])
def test_what_cannot_be_heard_is_no_clip(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "clip.wav")
    assert read_clip(tmp_path / "clip.wav") is None


def _shown(folders: list[Path], num_shown: int = 8) -> Sentences:
    return sentences(read_runs(folders), num_shown, str)


def test_what_runs_share_stands_once_in_a_sentence(tmp_path: Path) -> None:
    folders = [add_evaluation(make_run(tmp_path / name, 2, number), number=number) for number, name in enumerate("ab")]
    found = _shown(folders)
    assert (found.num_all, len(found.shown)) == (2, 2)
    cards = [(card.system, card.runs) for card in found.shown[0].cards]
    assert cards == [("reference", ""), ("codec", ""), ("base", ""), ("tuned", "a"), ("tuned", "b")]
    assert len(_shown(folders, 1).shown) == 1


def test_a_run_that_did_not_record_its_texts_joins_by_its_references(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "plain"), add_evaluation(make_run(tmp_path / "evaluated"))]
    found = _shown(folders)
    assert found.num_all == 2
    assert all(sentence.text for sentence in found.shown)
    assert [card.runs for card in found.shown[0].cards if card.system == "tuned"] == ["plain", "evaluated"]


def test_a_runaway_clip_does_not_squeeze_the_other_pictures(run: Path) -> None:
    path = run / "evaluation" / "audio" / "tuned_00.wav"
    audio, rate_hz = soundfile.read(path)
    soundfile.write(path, np.tile(audio, 10), rate_hz)
    cards = _shown([run]).shown[0].cards
    assert [card.is_cut for card in cards] == [False, False, False, True]


def test_a_clip_that_is_gone_is_said(run: Path) -> None:
    (run / "evaluation" / "audio" / "tuned_00.wav").unlink()
    card = _shown([run]).shown[0].cards[-1]
    assert card.problem == "tuned_00.wav is missing, empty or unreadable"
    assert (card.audio_uri, card.duration) == ("", "n/a")


def test_numbers_are_short() -> None:
    values = [None, 0.0, 0.12345, -1.236, 123.45, 12_345.6, 0.00012]
    assert [number(value) for value in values] == [
        "n/a",
        "0",
        "0.123",
        "−1.24",
        "123.5",
        "12,346",
        "1.2e-04".replace("-", "−"),
    ]
    assert [quantity(409_665), quantity(11_254_000, "B"), quantity(2.5e9, "B"), quantity(12)] == [
        "410k",
        "11.3 MB",
        "2.5 GB",
        "12",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pocket TTS /opt/assets/nano (6 layers)", "Pocket TTS nano (6 layers)"),
        ("not in '/home/me/.cache/x.bin': pass it", "not in 'x.bin': pass it"),
        (r"C:\Users\me\model.bin", "model.bin"),
        ("~/models/mine", "mine"),
        ("kyutai/pocket-tts, 1/2, n/a, hf://a/b and https://example.org/a", None),
    ],
)
def test_paths_are_cut_to_their_last_part(text: str, expected: str | None) -> None:
    assert without_paths(text) == (text if expected is None else expected)


def test_paths_with_spaces_are_known_from_the_configuration() -> None:
    scrub = Scrubber([{"adapter": {"model": "/home/my name/nano"}, "data": {"paths": ["/home/my name"]}}])
    assert scrub("Pocket TTS /home/my name/nano (small)") == "Pocket TTS nano (small)"


def test_files_of_runs_are_called_the_same_wherever_the_runs_lie() -> None:
    scrub = Scrubber([], [Path("/my runs/a"), Path("/my runs/b")])
    assert scrub("/my runs/a/samples/prompt.wav") == scrub("/my runs/b/samples/prompt.wav") == "samples/prompt.wav"
