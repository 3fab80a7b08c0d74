"""Words are found where they are said; right texts fit and wrong ones do not; long texts are split without loss."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm_ft.data.utterance import UnusableClip
from calm_ft.errors import UserError
from calm_ft.preparation.clips import HeardWord, Span
from calm_ft.preparation.sound.voice_activity import clip_spans, speech_spans
from calm_ft.preparation.words.alignment import (
    FITS,
    Alignment,
    choose_aligner,
    owners_of,
    score_of,
    split_alignment,
    split_text,
)
from calm_ft.preparation.words.pronunciation import pronunciation
from tools.nano import espeak

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")
pytest.importorskip("silero_vad")

RATE_HZ = espeak.SAMPLE_RATE_HZ
# Of espeak-ng's voices this one is near enough to a person's for PocketSphinx.
VOICE = espeak.EspeakVoice("f2", "f2", rate_wpm=140)
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "She sells sea shells by the sea shore every morning.",
    "Please call me back before seven o'clock tomorrow.",
    "My grandmother bought a large yellow umbrella.",
)
MORE = (
    "The children were playing in the garden behind the house.",
    "He opened the window because the room was very hot.",
    "Nobody knows why the old captain never came home again.",
    "We had coffee and fresh bread for breakfast.",
    "Winter comes early in the northern mountains.",
    "Several people waited outside until the doctor arrived.",
)
PROMPTS = Path("/usr/share/asterisk/sounds/en")


def aligner_for(language, model=None):
    found = choose_aligner(language, model)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def aligner():
    return aligner_for("en")


@pytest.fixture(scope="module")
def spoken():
    return {text: espeak.synthesize_with_words(text, VOICE) for text in (*TEXTS, *MORE)}


def fit(aligner, samples, text):
    try:
        return aligner.align(samples, RATE_HZ, text).score
    except UnusableClip:
        return 0.0


def test_a_right_text_fits_and_any_other_does_not(aligner, spoken):
    scores = np.array([[fit(aligner, spoken[said][0], text) for text in TEXTS] for said in TEXTS])

    assert (np.diag(scores) >= FITS).all()
    assert (scores[~np.eye(len(TEXTS), dtype=bool)] < FITS).all()


def test_half_a_text_for_the_whole_sound_and_the_reverse_fit_less(aligner, spoken):
    whole = TEXTS[1]
    samples = spoken[whole][0]

    assert fit(aligner, samples, "She sells sea shells.") < fit(aligner, samples, whole)
    assert fit(aligner, samples[: len(samples) // 2], whole) < FITS


def test_words_begin_where_they_are_said(aligner, spoken):
    errors_sec = []
    for text in TEXTS:
        samples, true = spoken[text]
        found = {word.word: word.start_sec for word in aligner.align(samples, RATE_HZ, text).words}
        once = [row for row in true if row["word"] in found and text.split().count(row["word"]) == 1]
        errors_sec += [abs(found[row["word"]] - row["start_sec"]) for row in once]

    assert len(errors_sec) > 20
    assert np.median(errors_sec) < 0.06
    assert max(errors_sec) < 0.25


def test_every_written_word_has_a_time_whatever_it_is_made_of(aligner):
    text = '"Chapter 21 - begins," in Zyxblor... with 3 old umbrellas!'

    words = aligner.align(espeak.synthesize(text, VOICE), RATE_HZ, text).words

    assert [word.word for word in words] == text.split()
    assert all(first.end_sec <= second.start_sec + 1e-9 for first, second in pairwise(words))


def test_an_alignment_does_not_depend_on_those_before_it_nor_on_the_level(aligner, spoken):
    samples = spoken[TEXTS[0]][0]
    alone = aligner_for("en").align(samples, RATE_HZ, TEXTS[0])
    aligner.align(spoken[TEXTS[2]][0], RATE_HZ, TEXTS[2])

    assert aligner.align(samples, RATE_HZ, TEXTS[0]) == alone
    assert aligner.align(samples * 0.01, RATE_HZ, TEXTS[0]).score == pytest.approx(alone.score, abs=0.02)


def test_a_text_without_a_word_cannot_be_aligned(aligner, spoken):
    with pytest.raises(UnusableClip, match="no word"):
        aligner.align(spoken[TEXTS[0]][0], RATE_HZ, "... - !")


def joined(spoken, texts, pause_sec=0.7):
    """The texts one after the other, [T], and where each is said."""
    pause = np.zeros(round(pause_sec * RATE_HZ), np.float32)
    parts, places, position = [], [], 0
    for text in texts:
        samples = spoken[text][0]
        places.append(Span(position / RATE_HZ, (position + len(samples)) / RATE_HZ))
        parts += [samples, pause]
        position += len(samples) + len(pause)
    noise = np.random.default_rng(0).normal(0, 1e-4, position)
    return (np.concatenate(parts) + noise).astype(np.float32), places


@pytest.mark.slow
def test_a_long_text_is_split_by_sentences_without_a_word_lost(aligner, spoken):
    texts = [*TEXTS, *MORE]
    samples, places = joined(spoken, texts)
    assert len(samples) > 30 * RATE_HZ
    whole = " ".join(texts)

    alignment = aligner.align(samples, RATE_HZ, whole)

    assert split_text(whole, alignment, places) == texts
    assert all(part.score >= FITS for part in split_alignment(alignment, places))
    spans = clip_spans(samples, RATE_HZ, speech_spans(samples, RATE_HZ))
    assert " ".join(split_text(whole, alignment, spans)).split() == whole.split()


@pytest.mark.slow
def test_in_a_long_text_a_sentence_that_nobody_says_costs_its_neighbours_little(aligner, spoken):
    texts = [*TEXTS, *MORE]
    samples, places = joined(spoken, texts)
    extra = "Completely different words were printed on page ninety."
    written = [*texts[:5], extra, *texts[5:]]

    alignment = aligner.align(samples, RATE_HZ, " ".join(written))

    assert [word.word for word in alignment.words] == " ".join(written).split()
    parts = split_text(" ".join(written), alignment, places)
    assert [part == text for part, text in zip(parts, texts, strict=True)].count(False) == 1
    words = " ".join(written[:5]).count(" ") + 1
    assert score_of(alignment.words[words : words + 8]) < FITS


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the package asterisk-core-sounds-en-wav is not installed")
def test_right_texts_of_a_persons_prompts_fit_and_swapped_ones_do_not(aligner):
    texts = {
        "agent-alreadyon": "That agent is already logged on. Please enter your agent number followed by the pound key.",
        "all-circuits-busy-now": "All circuits are busy now.",
        "confbridge-pin-bad": "You have entered too many invalid personal identification numbers.",
        "agent-pass": "Please enter your password followed by the pound key.",
        "confbridge-only-participant": "You are currently the only participant in the conference.",
    }
    sounds = {name: soundfile.read(PROMPTS / f"{name}.wav", dtype="float32") for name in texts}
    names = list(texts)

    def of(name, text):
        try:
            return aligner.align(*sounds[name], text).score
        except UnusableClip:
            return 0.0

    assert min(of(name, texts[name]) for name in names) >= FITS
    assert max(of(name, texts[other]) for name, other in zip(names, names[1:] + names[:1], strict=True)) < FITS


def aligned(*rows):
    return Alignment(tuple(HeardWord(word, start, end, 0.9) for word, start, end in rows), 0.9)


def test_words_between_spans_go_to_the_nearest_and_none_is_lost():
    alignment = aligned(("a", 0.0, 0.4), ("b", 0.9, 1.3), ("c", 1.7, 1.9), ("-", 1.9, 1.9), ("d", 5.0, 6.0))

    spans = [Span(0.0, 1.0), Span(2.0, 3.0), Span(3.5, 4.0), Span(4.5, 6.0)]

    assert split_text("a  b c - d", alignment, spans) == ["a b", "c -", "", "d"]
    assert split_alignment(alignment, spans)[2].score == 0.0


def test_the_alignment_of_another_text_splits_none():
    with pytest.raises(ValueError, match="another text"):
        split_text("x y", aligned(("a", 0.0, 1.0)), [Span(0.0, 1.0)])


def test_a_score_weighs_words_by_their_length():
    long_right = [HeardWord("a", 0.0, 0.9, 0.99), HeardWord("b", 0.9, 1.0, 0.01)]

    assert score_of(long_right) > 0.9
    assert score_of([]) == 0.0


def test_words_that_nobody_says_weigh_though_they_have_no_time_and_dashes_do_not():
    said = [HeardWord("a", 0.0, 1.0, 0.98)]

    assert score_of([*said, HeardWord("-", 1.0, 1.0, None)]) == score_of(said)
    assert score_of([*said, *[HeardWord("b", 1.0, 1.0, 0.0001)] * 3]) < FITS


def test_units_belong_to_the_part_in_which_they_were_heard_and_parts_never_go_back():
    units = [("a",), ("b",), (), ("x",), ("c", "d"), ("a",)]

    assert owners_of(units, [["a", "q", "b"], [], ["c", "d"], ["a"]]) == [0, 0, -1, -1, 2, 3]


def test_only_english_has_an_aligner_without_a_model():
    assert choose_aligner("fr") is None
    assert choose_aligner(None) is None


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"holds no wav2vec2 .*config\.json.*; give a folder"):
        choose_aligner("de", str(tmp_path))


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    """A wav2vec2 recogniser with random weights, as transformers saves it; its letters are capitals without accents."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("wav2vec2")
    tokens = ["<pad>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({token: row for row, token in enumerate(tokens)}), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16_000).save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(20, 16), conv_kernel=(40, 16), num_conv_pos_embedding_groups=2,
        num_conv_pos_embeddings=4,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return str(folder)


def test_a_wav2vec2_model_aligns_any_language_with_each_word_in_order(wav2vec2, spoken):
    samples, text = spoken[TEXTS[0]][0], "Le café - où l'été 2 fois!"

    alignment = aligner_for("fr", wav2vec2).align(samples, RATE_HZ, text)

    assert [word.word for word in alignment.words] == text.split()
    starts = [word.start_sec for word in alignment.words]
    assert starts == sorted(starts)
    assert alignment.words[-1].end_sec <= len(samples) / RATE_HZ + 0.02
    assert [word.word for word in alignment.words if word.confidence is None] == ["-"]
    assert all(0.0 <= word.confidence <= 1.0 for word in alignment.words if word.confidence is not None)


def test_a_wav2vec2_path_is_the_most_probable_one(wav2vec2, spoken):
    from calm_ft.metrics.ctc import CTCModel

    samples = spoken[TEXTS[0]][0][: RATE_HZ // 2]
    logs = CTCModel(wav2vec2).log_probabilities(samples, RATE_HZ).numpy()
    found = aligner_for("en", wav2vec2).align(samples, RATE_HZ, "a b").words
    # All paths of A, the delimiter and B through the frames, by dynamic programming over (frame, state).
    states = [0, 3, 0, 2, 0, 4, 0]
    best = np.full((len(logs), len(states)), -np.inf)
    back = np.zeros(best.shape, int)
    best[0, :2] = logs[0, states[:2]]
    for frame in range(1, len(logs)):
        for state, row in enumerate(states):
            options = [(best[frame - 1, before], before) for before in range(max(0, state - 2), state + 1)
                       if before >= state - 1 or row != 0]  # fmt: skip
            score, before = max(options)
            best[frame, state], back[frame, state] = score + logs[frame, row], before
    state = int(np.argmax(best[-1, -2:])) + len(states) - 2
    path = [state]
    for frame in range(len(logs) - 1, 0, -1):
        state = back[frame, state]
        path.append(state)
    path.reverse()
    frames = [(path.index(state), len(path) - path[::-1].index(state)) for state in (1, 5)]

    for word, (first, last) in zip(found, frames, strict=True):
        assert (word.start_sec, word.end_sec) == pytest.approx((first * 0.02, last * 0.02))


def test_a_text_with_more_letters_than_the_sound_has_frames_cannot_be_aligned(wav2vec2, spoken):
    with pytest.raises(UnusableClip, match="does not fit"):
        aligner_for("en", wav2vec2).align(spoken[TEXTS[0]][0][:4000], RATE_HZ, "Many more letters than that. " * 5)


def test_a_wav2vec2_model_splits_long_sound_without_a_word_lost(wav2vec2, spoken):
    samples, places = joined(spoken, [*TEXTS, *MORE])
    text = " ".join((*TEXTS, *MORE))

    alignment = aligner_for("en", wav2vec2).align(samples, RATE_HZ, text)

    assert " ".join(split_text(text, alignment, places)).split() == text.split()


@pytest.mark.parametrize(
    ("word", "sounds"), [("undo", "AH N D UW"), ("plip", "P L IH P"), ("naïve", "N EY V"), ("привет", "AH")]
)
def test_unknown_words_are_taken_apart_or_spelled_out(word, sounds):
    known = {"un": "AH N", "do": "D UW"}

    assert pronunciation(word, known.get) == sounds
