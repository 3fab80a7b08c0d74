"""A set of several languages: each clip is read, judged and listed in its own."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError
from calm_ft.preparation.languages import Languages, find_languages, settings_by_language
from calm_ft.preparation.pieces import Recording
from calm_ft.preparation.pipeline import Request, prepare
from calm_ft.preparation.tools import ClipSettings
from tools.nano import espeak

for package in ("pocketsphinx", "espeakng_loader", "silero_vad", "py3langid", "num2words"):
    pytest.importorskip(package)

# Of espeak-ng's voices the ones that PocketSphinx understands, and that have the pitch of the other language's.
VOICES = {
    language: espeak.EspeakVoice(language, "f2", accent, rate_wpm=140)
    for language, accent in (("en", "en-us"), ("fr", "fr"))
}
TEXTS = {
    "en": (
        "The old house on the hill was sold for 21 thousand pounds.",
        "She has lived in the village since the summer of 1999.",
        "Please call me back before seven o'clock tomorrow evening.",
        "The children were playing in the garden behind the house.",
    ),
    "fr": (
        "La vieille maison sur la colline a été vendue pour 21 mille euros.",
        "Elle habite dans ce village depuis l'été de 1999.",
        "Rappelez-moi demain matin avant sept heures, s'il vous plaît.",
        "Les enfants jouaient dans le jardin derrière la maison.",
    ),
}
SPOKEN = {
    "en": ("sold for twenty-one thousand pounds", "summer of nineteen ninety-nine"),
    "fr": ("vendue pour vingt et un mille euros", "l'été de mille neuf cent quatre-vingt-dix-neuf"),
}

Row = dict


def rows_of(dataset: Path, *names: str) -> list[Row]:
    return [json.loads(line) for name in names for line in (dataset / f"{name}.jsonl").read_text().splitlines()]


def quietly(recordings: Path, dataset: Path, **settings):
    said: list[str] = []
    settings = {"transcribe": "pocketsphinx", "num_processes": 1, **settings}
    return prepare(Request(recordings, dataset, **settings), say=said.append), said


def write_list(folder: Path, rows: list[tuple[str, str, str]], header: str = "path\ttext\tlanguage") -> None:
    lines = ["\t".join(row[: header.count("\t") + 1]) for row in rows]
    (folder / "list.tsv").write_text("\n".join([header, *lines, ""]))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> tuple[Path, list[tuple[str, str, str]]]:
    """Speech in two languages, a row of each without a text, and its list."""
    folder, rows = tmp_path_factory.mktemp("spoken"), []
    for language, texts in TEXTS.items():
        for number, text in enumerate(texts):
            name = f"{language}{number}.wav"
            soundfile.write(folder / name, espeak.synthesize(text, VOICES[language]), espeak.SAMPLE_RATE_HZ)
            rows.append((name, text if number < 3 else "", "fr-CA" if language == "fr" else language))
    write_list(folder, rows)
    return folder, rows


@pytest.fixture(scope="module")
def prepared(spoken, tmp_path_factory):
    dataset = tmp_path_factory.mktemp("languages") / "dataset"
    return dataset, *quietly(spoken[0], dataset)


@pytest.mark.slow
def test_every_list_says_the_language_of_each_clip_and_training_reads_it(prepared):
    dataset, _, _ = prepared
    rows = rows_of(dataset, "manifest", "heldout", "excluded")
    assert {row["id"]: row["language"] for row in rows} == {row["id"]: row["id"][:2] for row in rows}
    assert Counter(row["language"] for row in rows) == {"en": 4, "fr": 4}
    for name in ("manifest", "heldout"):
        read = read_recordings(dataset / f"{name}.jsonl").utterances
        assert read
        assert all(each.language == each.audio_path.stem[:2] for each in read)


def test_numbers_are_spoken_in_the_language_of_their_clip(prepared):
    texts = {row["id"]: row["text"] for row in rows_of(prepared[0], "manifest", "heldout")}
    for language, parts in SPOKEN.items():
        for number, part in enumerate(parts):
            assert part in texts[f"{language}{number}"]


def test_no_clip_is_in_another_language_and_pocketsphinx_judges_and_hears_english_alone(prepared):
    dataset, summary, said = prepared
    assert not {"other_language", "language_doubted", "wrong_text"} & {each.kind for each in summary.problems}
    rows = {row["id"]: row for row in rows_of(dataset, "manifest", "heldout", "excluded")}
    assert all((rows[f"en{n}"]["confidence"] or 0.0) > 0.5 for n in range(3))
    assert all(rows[f"fr{n}"]["confidence"] is None for n in range(3))
    assert rows["en3"]["text_from"] == "heard"
    assert rows["fr3"]["kind"] == "no_text"
    assert "languages en, fr" in said[0]


def test_the_hours_of_each_language_are_counted_and_shown(prepared):
    dataset, summary, _ = prepared
    rows = rows_of(dataset, "manifest", "heldout")
    hours = summary.totals["hours_by_language"]
    for language in TEXTS:
        own = [row for row in rows if row["language"] == language]
        sec = sum(row["source_end_sec"] - row["source_start_sec"] for row in own)
        assert hours[language] * 3600 == pytest.approx(sec, abs=0.5)
        cells = f'<th scope="row" dir="auto">{language}</th><td>{len(own)}</td><td>{sec:.1f} s</td>'
        assert cells in (dataset / "report.html").read_text()


def test_a_text_in_the_sets_other_language_is_left_out_of_its_own(spoken, tmp_path):
    recordings = tmp_path / "recordings"
    shutil.copytree(spoken[0], recordings)
    wrong = [(name, text, "fr" if name == "en2.wav" else language[:2]) for name, text, language in spoken[1]]
    write_list(recordings, wrong)
    quietly(recordings, tmp_path / "dataset", transcribe="none")
    (row,) = [row for row in rows_of(tmp_path / "dataset", "excluded") if row["kind"] == "other_language"]
    assert (row["id"], row["language"], row["reason"]) == (
        "en2",
        "fr",
        "the text is in another language than its own, fr",
    )


def test_without_a_column_a_set_comes_out_as_in_the_given_language_and_a_detected_one_is_not_listed(spoken, tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for name, *_ in spoken[1]:
        if name.startswith("fr"):
            shutil.copy(spoken[0] / name, recordings)
    write_list(recordings, [row for row in spoken[1] if row[0].startswith("fr")], "path\ttext")
    summary, _ = quietly(recordings, tmp_path / "found", transcribe="none")
    assert summary.language == "fr"
    assert "hours_by_language" not in summary.totals
    quietly(recordings, tmp_path / "given", transcribe="none", language="fr")
    found, given = (rows_of(tmp_path / name, "manifest", "heldout", "excluded") for name in ("found", "given"))
    assert not any("language" in row for row in found)
    assert {row.pop("language") for row in given} == {"fr"}
    assert found == given


def test_a_language_that_is_no_code_is_said_and_the_texts_are_asked(spoken, tmp_path):
    recordings = tmp_path / "recordings"
    shutil.copytree(spoken[0], recordings)
    named = {"en": "English", "fr-CA": "fra"}
    write_list(recordings, [(name, text, named[language]) for name, text, language in spoken[1]])
    _, said = quietly(recordings, tmp_path / "dataset", transcribe="none")
    assert any("4 rows call their language 'english'" in line for line in said)
    rows = {row["id"]: row for row in rows_of(tmp_path / "dataset", "manifest", "heldout")}
    assert {row.get("language") for row in rows.values()} == {None, "fr"}
    assert SPOKEN["en"][0] in rows["en0"]["text"]
    assert SPOKEN["fr"][0] in rows["fr0"]["text"]


def recording(id: str, text: str | None, language: str | None = None) -> Recording:
    return Recording(id, Path(f"{id}.wav"), f"{id}.wav", id, "anna", text, 5.0, language=language)


@pytest.mark.parametrize(("own", "given", "wanted"), [("fr", "de", "fr"), (None, "de", "de"), (None, None, "en")])
def test_a_row_comes_before_the_option_and_the_option_before_what_is_detected(own, given, wanted):
    others = [recording(f"b{n}", text) for n, text in enumerate(TEXTS["en"])]
    clip = recording("a", "Ein Text.", own)
    languages = find_languages([clip, *others], given)
    assert languages.of(clip) == wanted
    assert languages.named_for(clip) == (own or given or "")


def settings_of(recordings, transcribe="none", given=None, **settings):
    languages = find_languages(recordings, given)
    return settings_by_language(ClipSettings(Path("dataset"), None, **settings), transcribe, recordings, languages)


def test_where_no_clip_is_english_a_recogniser_of_english_alone_is_refused():
    with pytest.raises(UserError, match="English alone"):
        settings_of([recording("a", None, "fr"), recording("b", None, "de")], "pocketsphinx")


def test_an_aligners_model_is_for_the_given_language_alone(tmp_path):
    recordings = [recording("a", "Hello there.", "en"), recording("b", "Bonjour à tous.", "fr")]
    with pytest.raises(UserError, match="several \\(en, fr\\): say by --language"):
        settings_of(recordings, aligner_model=str(tmp_path))
    with pytest.raises(UserError, match="give a folder as transformers saves it"):  # for the French one it is read
        settings_of(recordings, given="fr", aligner_model=str(tmp_path))
    found = settings_of(recordings, given="de", aligner_model=str(tmp_path))
    assert {own: (each.aligner, each.aligner_model) for own, each in found.items()} == {
        "en": ("pocketsphinx", None),
        "fr": ("", None),
    }


def test_a_set_of_one_language_has_one_setting():
    assert list(settings_of([recording("a", "Hello.", "en")])) == ["en"]
    assert list(settings_of([recording("a", "Hello.")], given="en")) == [None]
    assert Languages().text([recording("a", None)]) is None
