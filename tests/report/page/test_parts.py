"""The parts of a page: charts, clips and pictures, sentences, wording."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from calm_ft.report.figures import difference_text, number, quantity, value_text
from calm_ft.report.page.charts import AXIS_HEIGHT, MAX_POINTS, ROW_HEIGHT, DrawnInterval, Series, costs, curves, dots
from calm_ft.report.page.media import PICTURE_HEIGHT, PICTURE_WIDTH, read_clip
from calm_ft.report.page.scrub import Scrubber, without_paths
from calm_ft.report.page.sentences import Sentences, sentences
from calm_ft.report.runs import read_runs
from tests.conftest import DEMO_TRAIN
from tests.report.page.made_runs import add_evaluation, make_run

_PATH = re.compile(r'<path d="(M [^"]*)" style="[^"]*stroke: var\(--(s0|s1|base)\)')
_DOT = re.compile(r'<use href="#[^"]*" x="([0-9.]+)" y="([0-9.]+)" style="fill: var\(--(s0|s1|reference)\)')


def _lines(drawing: str) -> list[list[tuple[float, float]]]:
    """The places that each line goes through, markers left out."""
    found = [[float(each) for each in re.findall(r"-?[0-9.]+", path)] for path, _ in _PATH.findall(drawing)]
    places = [list(zip(each[::2], each[1::2], strict=True)) for each in found if len(each) % 2 == 0]
    return [each for each in places if all(x > 10 for x, _ in each)]


def _dots(drawing: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y, _ in _DOT.findall(drawing)]


@pytest.mark.parametrize("values", [[1.0, 2.0, 0.5], [0.0, 0.0], [-3.0, 1e9], [7.0], [1e-9, 1e-9 + 1e-20]])
def test_curves_lie_within_their_chart(values: list[float]) -> None:
    chart = curves("train/loss", [Series("s0", "A", [(float(step), value) for step, value in enumerate(values)])])
    width, height = map(float, re.findall(r'width="(\d+)" height="(\d+)"', chart.drawing)[0])
    places = _dots(chart.drawing)
    assert len(places) == len(values)
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    assert (chart.title, chart.name) == ("training loss", "train/loss")
    assert chart.description.startswith("training loss over steps, first to last: A: ")


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    curve = [(float(step), float(step)) for step in range(10_001)]
    (whole,) = _lines(curves("val/residual", [Series("s0", "A", [curve[0], curve[-1]] * 8)]).drawing)
    (thinned,) = _lines(curves("val/residual", [Series("s0", "A", curve)]).drawing)
    assert len(thinned) <= MAX_POINTS + 1
    assert [thinned[0], thinned[-1]] == whole[:2]


def test_dots_stand_beside_their_rows_on_their_intervals() -> None:
    rows = [
        DrawnInterval("reference", 0.1, None, None),
        DrawnInterval("s0", 0.5, 0.4, 0.7),
        DrawnInterval("s1", 0.3, 0.2, 0.35),
    ]
    drawing = dots(rows, base=0.5, is_percent=True)
    assert f'height="{3 * ROW_HEIGHT + AXIS_HEIGHT}"' in drawing
    assert [y for _, y in _dots(drawing)] == [ROW_HEIGHT * (place + 0.5) for place in range(3)]
    level, first, second = _lines(drawing)
    (_, (at, _), (last, _)) = _dots(drawing)
    assert level[0][0] == pytest.approx(at)  # the base's line goes through a dot of the same value
    assert first[0][0] < at < first[1][0]
    assert second[0][0] < last < second[1][0] < at


def test_costs_are_logarithmic_where_they_differ_much() -> None:
    series = [Series("s0", name, [(x, 5.0)], 4.0, 6.0) for name, x in (("A", 1e4), ("B", 1e5), ("C", 1e6))]
    chart = costs("mcd", "trained parameters", series, base=7.0)
    (a, _), (b, _), (c, _) = _dots(chart.drawing)
    assert b - a == pytest.approx(c - b, abs=0.2)
    assert (
        chart.description == "mcd against trained parameters: A 5.00 at 10k; B 5.00 at 100k; C 5.00 at 1M; base 7.00."
    )


def test_drawings_take_their_colours_from_the_page_and_nothing_from_the_network() -> None:
    drawing = dots([DrawnInterval("s0", 1.0, 0.5, 2.0)], base=1.0)
    assert "#fa00" not in drawing
    assert "http" not in drawing
    assert "font-family" not in drawing
    assert "var(--s0)" in drawing
    assert drawing == dots([DrawnInterval("s0", 1.0, 0.5, 2.0)], base=1.0)


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
    return sentences(read_runs(folders), num_shown, Scrubber([]))


@pytest.mark.slow
def test_what_runs_share_stands_once_and_a_sentence_in_one_line(tmp_path: Path) -> None:
    folders = [add_evaluation(make_run(tmp_path / name, 2, number), number=number) for number, name in enumerate("ab")]
    found = _shown(folders)
    assert (found.num_all, len(found.shown)) == (2, 2)
    assert [head.title for head in found.heads] == ["recordings", "codec", "base", "A", "B"]
    assert all(card is not None and card.audio_uri for sentence in found.shown for card in sentence.cards)
    assert len(_shown(folders, 1).shown) == 1


@pytest.mark.slow
def test_bases_that_speak_otherwise_are_columns_of_their_own(tmp_path: Path) -> None:
    folders = [add_evaluation(make_run(tmp_path / name, 2)) for name in "abc"]
    clip = folders[2] / "evaluation" / "audio" / "base_01.wav"
    clip.write_bytes((folders[2] / "evaluation" / "audio" / "base_00.wav").read_bytes())
    assert [head.name for head in _shown(folders).heads][2:4] == ["base of A, B", "base of C"]


def test_a_run_that_did_not_record_its_texts_joins_by_its_references(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "plain"), add_evaluation(make_run(tmp_path / "evaluated"))]
    found = _shown(folders)
    assert found.num_all == 2
    assert all(sentence.text for sentence in found.shown)
    assert [head.letter for head in found.heads] == ["", "", "", "A", "B"]
    assert all(card is not None for card in found.shown[0].cards)


@pytest.mark.slow
def test_clips_of_other_lengths_stay_readable(run: Path) -> None:
    audio, rate_hz = soundfile.read(run / "evaluation" / "audio" / "reference_00.wav")
    soundfile.write(run / "evaluation" / "audio" / "tuned_00.wav", np.tile(audio, 10), rate_hz)
    soundfile.write(run / "evaluation" / "audio" / "base_00.wav", audio[: audio.size // 5], rate_hz)
    *others, base, tuned = [card for card in _shown([run]).shown[0].cards if card is not None]
    assert [card.remark for card in others] == ["", ""]
    assert tuned.remark.startswith("cut here, goes on to ")
    assert base.remark == "on a time scale of its own"
    assert base.shown_sec < 0.3 * tuned.shown_sec


def test_a_clips_figures_have_plain_names_and_its_faults_are_said(run: Path) -> None:
    sentence = _shown([run]).shown[1]
    base = sentence.cards[2]
    assert base is not None
    assert base.flags == ("did not end",)
    assert [name for name, _, _ in base.figures][:2] == ["words wrong", "sounds like the voice (Resemblyzer)"]


def test_a_clip_that_is_gone_is_said(run: Path) -> None:
    (run / "evaluation" / "audio" / "tuned_00.wav").unlink()
    card = _shown([run]).shown[0].cards[-1]
    assert card is not None
    assert card.problem == "tuned_00.wav is missing, empty or unreadable"
    assert (card.audio_uri, card.duration) == ("", "")


def test_numbers_are_short() -> None:
    values = [None, 0.0, 0.12345, -1.236, 123.45, 12_345.6, 0.00012]
    assert [number(value) for value in values] == [
        "n/a",
        "0",
        "0.123",
        "-1.24",
        "123",
        "12,346",
        "1.2e-04",
    ]
    assert [value_text(0.125, "rate"), value_text(0.0004, "share"), value_text(7.5, "dB")] == ["12.5%", "0.04%", "7.50"]
    assert [difference_text(each, "rate") for each in (0.042, -0.042)] == ["+4.2 points", "-4.2 points"]
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
