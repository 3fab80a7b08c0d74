"""The demo voice's clips, encoded again and mixed with another voice: what is found alike, and what is not."""

import io

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly
from scipy.spatial.distance import cdist

from calm_ft.config import ASSETS
from calm_ft.metrics.speaker import voice_embedding
from calm_ft.preparation.sound.likeness import duplicate_groups, fingerprint, voice_outliers

RATE_HZ = 16_000
NUM_CLIPS = 60


def clips(folder: str, num_clips: int) -> list[np.ndarray]:
    paths = sorted((ASSETS / folder).glob("*.ogg"))[:num_clips]
    return [soundfile.read(path)[0] for path in paths]


@pytest.fixture(scope="module")
def recordings() -> list[np.ndarray]:
    return clips("demo_voice/train", NUM_CLIPS)


@pytest.fixture(scope="module")
def prints(recordings) -> dict[str, np.ndarray]:
    return {str(number): fingerprint(samples, RATE_HZ) for number, samples in enumerate(recordings)}


def encoded(samples: np.ndarray, container: str, subtype: str, rate_hz: int = RATE_HZ) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype)
    file.seek(0)
    return soundfile.read(file)[0]


AGAIN = {
    "the same": lambda samples: (samples, RATE_HZ),
    "mp3": lambda samples: (encoded(samples, "MP3", "MPEG_LAYER_III"), RATE_HZ),
    "ogg": lambda samples: (encoded(samples, "OGG", "VORBIS"), RATE_HZ),
    "8 kHz": lambda samples: (encoded(resample_poly(samples, 1, 2), "WAV", "ULAW", 8000), 8000),
    "44.1 kHz": lambda samples: (resample_poly(samples, 441, 160), 44_100),
    "quieter": lambda samples: (0.05 * samples, RATE_HZ),
    "silence around": lambda samples: (np.pad(samples, (RATE_HZ, RATE_HZ // 3)), RATE_HZ),
}


@pytest.mark.parametrize("way", AGAIN)
def test_a_recording_is_recognised(recordings, prints, way):
    numbers = range(0, NUM_CLIPS, 6)
    again = {f"again {number}": fingerprint(*AGAIN[way](recordings[number])) for number in numbers}
    assert duplicate_groups({**prints, **again}) == [(str(number), f"again {number}") for number in numbers]


def test_different_recordings_are_not_alike(prints):
    assert duplicate_groups(prints) == []


def test_silence_is_like_nothing():
    silent = fingerprint(np.zeros(RATE_HZ), RATE_HZ)
    assert not silent.any()
    assert duplicate_groups({"a": silent, "b": silent, "c": fingerprint(np.zeros(0), RATE_HZ)}) == []


def test_all_copies_of_a_recording_are_one_group(prints):
    copies = {f"copy {number}": prints["7"] for number in range(5)}
    assert duplicate_groups({**prints, **copies}) == [("7", *copies)]


def test_the_tree_finds_every_pair_that_comparing_all_finds():
    """Vectors with planted neighbours; the oracle compares each with each."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 289))
    points[200:300] = points[:100] + rng.normal(size=(100, 289)) * rng.uniform(0.1, 0.6, size=(100, 1))
    points[:, 1:] /= np.linalg.norm(points[:, 1:], axis=1, keepdims=True)
    points[:, 0] = np.tile(2 * np.log(np.linspace(2, 9, 200)), 2)
    distances = cdist(points, points)
    near = {(str(a), str(b)) for a, b in zip(*np.where(distances < 0.33), strict=True) if a < b}
    assert 20 < len(near) < 90
    assert set(duplicate_groups({str(index): point for index, point in enumerate(points)})) == near


def test_too_little_speech_has_no_voice(recordings):
    assert not voice_embedding(recordings[0][:RATE_HZ], RATE_HZ).any()
    assert not voice_embedding(np.zeros(3 * RATE_HZ), RATE_HZ).any()


@pytest.fixture(scope="module")
def voices(recordings) -> dict[str, list[np.ndarray]]:
    """Embeddings [256] of clips of two voices that are long enough."""
    found = {
        "demo": [voice_embedding(samples, RATE_HZ) for samples in recordings[:20]],
        "other": [voice_embedding(samples, 16_000) for samples in clips("judging_voices/adam", 8)],
    }
    return {name: [each for each in embeddings if each.any()] for name, embeddings in found.items()}


def test_an_embedding_has_length_one_at_every_level(recordings, voices):
    loud, quiet = (voice_embedding(level * recordings[0], RATE_HZ) for level in (1.0, 0.02))
    assert np.linalg.norm(loud) == pytest.approx(1, abs=1e-5)
    assert loud @ quiet == pytest.approx(1, abs=1e-3)


def test_clips_of_another_person_are_found(voices):
    embeddings = {f"demo {n}": each for n, each in enumerate(voices["demo"])}
    embeddings |= {f"other {n}": each for n, each in enumerate(voices["other"][:4])}
    outliers = voice_outliers(embeddings, dict.fromkeys(embeddings, "speaker"))
    assert {name for name in outliers if name.startswith("other")} == {f"other {n}" for n in range(4)}
    assert sum(name.startswith("demo") for name in outliers) <= 2


def test_where_two_people_share_a_name_the_rarer_is_the_outlier(voices):
    num_other = len(voices["other"])
    embeddings = {f"demo {n}": each for n, each in enumerate(voices["demo"][: num_other + 3])}
    embeddings |= {f"other {n}": each for n, each in enumerate(voices["other"])}
    outliers = voice_outliers(embeddings, dict.fromkeys(embeddings, "speaker"))
    assert sum(name.startswith("other") for name in outliers) == num_other
    assert sum(name.startswith("demo") for name in outliers) <= 2


def test_each_speaker_is_judged_alone(voices):
    embeddings = {f"{name} {n}": each for name, given in voices.items() for n, each in enumerate(given)}
    outliers = voice_outliers(embeddings, {name: name.split()[0] for name in embeddings})
    assert len(outliers) <= 0.1 * len(embeddings)


def test_clips_without_a_voice_and_tiny_speakers_are_not_judged(voices):
    embeddings = {"a": voices["demo"][0], "b": voices["other"][0], "c": np.zeros(256)}
    assert voice_outliers(embeddings, dict.fromkeys(embeddings, "speaker")) == {}
