"""Untidy recordings with known truth, made of real speech in Debian's packages: long files, and clips with faults.

`long/LANGUAGE.wav`: prompts of one voice with pauses of 0.2 to 2 s, other levels and room noise, without any text;
`long/truth.json` says where each prompt lies, what it says, and where the clean sound is speech.
`faults/`: pairs of a sound file and a text file. Most are clean; 28 kinds of faults are planted in `--per-kind` clips
each, and `faults.json` names each file's. A clip is two prompts of the English voice with a short pause, so that there
are enough clips of which no two are alike.
`many/`, with `--many 100000`: so many short clips in folders of a thousand, and a list `metadata.csv`: each three
short prompts of the French voice at a pitch of its own, so that hardly two are alike.

    apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-wav asterisk-moh-opsound-wav
    python -m benchmarks.preparation_data --output-dir untidy
"""

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from benchmarks import measuring
from calm_ft.errors import UserError, run_script
from calm_ft.progress import Progress

RATE_HZ = 8000
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
SOUNDS, TEXTS, MUSIC = Path("/usr/share/asterisk/sounds"), Path("/usr/share/doc"), Path("/usr/share/asterisk/moh")
MARKUP = ("<b>{}</b>", "00:01 --> {}", "SPEAKER_00: {}", "(noise) {}", "{} \U0001f600", "[laughter] {}")
NUM_CLEAN_PER_KIND = 10
LEVELS_BELOW_DB = (0.0, 6.0, 12.0)
"""How much quieter a second voice is than the first."""

Sound = np.ndarray


@dataclass(frozen=True)
class Prompt:
    name: str
    text: str
    samples: Sound


@dataclass(frozen=True)
class Planted:
    """A clip [T] or [T, C] to be written, and how."""

    samples: Sound
    text: str
    rate_hz: int = RATE_HZ
    suffix: str = ".wav"
    subtype: str | None = "PCM_16"
    encoding: str = "utf-8"


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0, help="length of each long file")
    parser.add_argument("--per-kind", type=measuring.positive, default=20)
    parser.add_argument("--languages", nargs="+", choices=VOICES, default=list(VOICES))
    parser.add_argument("--many", type=int, default=0, help="write so many short clips, and nothing else")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = measuring.new_folder(given.output_dir)
    if given.many:
        write_many(folder / "many", given.many, np.random.default_rng(given.seed))
        return
    write_long(folder / "long", given.languages, given.minutes, np.random.default_rng(given.seed))
    write_faults(folder / "faults", given.per_kind, np.random.default_rng(given.seed + 1))


def prompts(language: str) -> list[Prompt]:
    """The spoken prompts of a voice with their texts. Raises UserError where their package is not installed."""
    listing = TEXTS / f"asterisk-core-sounds-{language}" / f"core-sounds-{language}.txt.gz"
    folder = SOUNDS / VOICES[language]
    if not listing.exists() or not folder.exists():
        raise UserError(f"{folder} is missing: apt-get install asterisk-core-sounds-{language}-wav")
    found = []
    for line in gzip.decompress(listing.read_bytes()).decode("utf-8", "replace").splitlines():
        match = re.match(r"([^;:]+):\s*([^\[(<\s].*)", line)
        path = folder / f"{match[1]}.wav" if match else None
        if match and path and path.exists():
            found.append(Prompt(match[1], match[2].strip(), np.asarray(soundfile.read(path)[0])))
    return found


def write_long(folder: Path, languages: list[str], minutes: float, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    truth = {}
    for language in languages:
        samples, rows, speech = long_recording(prompts(language), minutes * 60, rng)
        soundfile.write(folder / f"{language}.wav", samples, RATE_HZ, subtype="PCM_16")
        truth[f"{language}.wav"] = {"prompts": rows, "speech": speech}
    (folder / "truth.json").write_text(json.dumps(truth, ensure_ascii=False), encoding="utf-8")


def long_recording(
    of: list[Prompt], duration_sec: float, rng: np.random.Generator
) -> tuple[Sound, list[dict[str, object]], list[list[float]]]:
    """Samples [T], the prompts with their times, and the spans of speech of the clean sound, in seconds."""
    parts, rows, speech, time_sec = [np.zeros(RATE_HZ // 2)], [], [], 0.5
    while time_sec < duration_sec:
        for index in rng.permutation(len(of)):
            prompt = of[index]
            spans = spans_of_level(prompt.samples)
            if not spans or time_sec >= duration_sec:
                continue
            pause_sec = float(np.exp(rng.uniform(np.log(0.2), np.log(2.0))))
            level = 10 ** (rng.uniform(-9, 3) / 20) / max(1.0, 1.5 * float(np.abs(prompt.samples).max()))
            parts += [prompt.samples * level, np.zeros(round(pause_sec * RATE_HZ))]
            end_sec = time_sec + len(prompt.samples) / RATE_HZ
            rows.append({"start_sec": time_sec, "end_sec": end_sec, "text": prompt.text, "name": prompt.name})
            speech += [[time_sec + start, time_sec + end] for start, end in spans]
            time_sec = end_sec + len(parts[-1]) / RATE_HZ
    clean = np.concatenate(parts)
    speech_level = np.sqrt(np.mean(np.square(clean[np.abs(clean) > 0.01])))
    room = sosfilt(butter(1, 1000, fs=RATE_HZ, output="sos"), rng.normal(size=clean.size))
    return clean + room / room.std() * speech_level * 10 ** (-40 / 20), rows, speech


def spans_of_level(samples: Sound) -> list[list[float]]:
    """Where clean sound is within 40 dB of its loud frames, in seconds; gaps under 0.1 s belong to it."""
    width = RATE_HZ // 100
    power = np.square(samples[: len(samples) // width * width]).reshape(-1, width).mean(axis=1)
    if not power.size or power.max() == 0:
        return []
    loud = np.flatnonzero(power > np.percentile(power, 90) * 1e-4)
    spans: list[list[int]] = []
    for frame in loud:
        if spans and frame - spans[-1][1] < 10:
            spans[-1][1] = int(frame) + 1
        else:
            spans.append([int(frame), int(frame) + 1])
    return [[start / 100, end / 100] for start, end in spans]


def write_faults(folder: Path, per_kind: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    of = [prompt for prompt in prompts("en") if 0.8 < len(prompt.samples) / RATE_HZ < 8]
    clean = pairs(of, rng)
    truth: dict[str, dict[str, str | None]] = {}
    num_clean = NUM_CLEAN_PER_KIND * per_kind
    total = num_clean + per_kind * (len(SOUND_FAULTS) + 14)
    with Progress("writing clips", total, unit="clip") as progress:

        def write(name: str, planted: Planted, fault: str | None, of: str | None = None) -> None:
            path = folder / f"{name}{planted.suffix}"
            write_sound(path, planted)
            path.with_suffix(".txt").write_text(planted.text, encoding=planted.encoding)
            truth[path.name] = {"fault": fault, "of": of}
            progress.update()

        originals = []
        for index in range(num_clean):
            originals.append(next(clean))
            write(f"clean_{index:03}", originals[-1], None)
        for kind, plant in SOUND_FAULTS.items():
            for index in range(per_kind):
                write(f"{kind}_{index:03}", plant(next(clean), rng), kind)
        for kind, index, planted, original in other_faults(clean, originals, per_kind, rng):
            write(f"{kind}_{index:03}", planted, kind, original)
    named = json.dumps(truth, indent=0, ensure_ascii=False)
    folder.with_name("faults.json").write_text(named, encoding="utf-8")


def write_many(folder: Path, num_clips: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    of = [prompt for prompt in prompts("fr") if 0.2 < len(prompt.samples) / RATE_HZ < 0.6]
    with (
        Progress("writing clips", num_clips, unit="clip") as progress,
        (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["file_name", "text"])
        for number in range(num_clips):
            drawn = [of[index] for index in rng.choice(len(of), 3, replace=False)]
            name = f"{number // 1000:03}/{number % 1000:03}.wav"
            samples = np.concatenate([prompt.samples for prompt in drawn])
            shifted = resample_poly(samples, int(rng.integers(90, 111)), 100)
            (folder / name).parent.mkdir(exist_ok=True)
            soundfile.write(folder / name, with_noise(shifted, 45, rng), RATE_HZ, subtype="PCM_16")
            rows.writerow([name, ", ".join(prompt.text.rstrip(".") for prompt in drawn)])
            progress.update()


def pairs(of: list[Prompt], rng: np.random.Generator) -> Iterator[Planted]:
    """Clips of two prompts with room noise 45 dB under them; none twice."""
    seen = set()
    while True:
        first, second = (int(index) for index in rng.choice(len(of), 2, replace=False))
        if (first, second) in seen or (second, first) in seen:
            continue
        seen.add((first, second))
        pause = np.zeros(round(rng.uniform(0.1, 0.5) * RATE_HZ))
        around = np.zeros(round(0.15 * RATE_HZ))
        samples = np.concatenate([around, of[first].samples, pause, of[second].samples, around])
        yield Planted(with_noise(samples, 45, rng), f"{of[first].text.rstrip('.')}. {of[second].text}")


def with_noise(samples: Sound, snr_db: float, rng: np.random.Generator, noise: Sound | None = None) -> Sound:
    """Samples [T] with noise [T] (white unless given) at a ratio to their mean power."""
    noise = rng.normal(size=len(samples)) if noise is None else noise
    level = np.sqrt(np.mean(np.square(samples)) / max(float(np.mean(np.square(noise))), 1e-12))
    mixed = samples + noise * level * 10 ** (-snr_db / 20)
    return mixed / max(1.0, 1.01 * float(np.abs(mixed).max()))


def with_voice(
    samples: Sound, of: list[Prompt], below_db: float, seconds: float | None, rng: np.random.Generator
) -> Sound:
    """Samples [T] with prompts of another voice in them, so many dB below: all over, or for some seconds of speech."""
    length = len(samples) if seconds is None else min(len(samples), round(seconds * RATE_HZ))
    start = 0
    if seconds is not None:
        loud = np.convolve(np.square(samples), np.ones(length), "valid")[:: RATE_HZ // 100]
        start = int(rng.choice(np.flatnonzero(loud >= np.median(loud)))) * (RATE_HZ // 100)
    second = np.zeros(0)
    while len(second) < length:
        prompt = of[rng.integers(len(of))].samples
        spans = spans_of_level(prompt)
        if spans and len(prompt) > 0.8 * RATE_HZ:
            speech = prompt[round(spans[0][0] * RATE_HZ) : round(spans[-1][1] * RATE_HZ)]
            second = np.concatenate([second, speech / speech_level(speech)])
    gain = speech_level(samples) * 10 ** (-below_db / 20)
    mixed = samples.copy()
    mixed[start : start + length] += gain * second[:length]
    return mixed / max(1.0, 1.01 * float(np.abs(mixed).max()))


def speech_level(samples: Sound) -> float:
    """The root mean square of the frames of 10 ms that are within 30 dB of the loud ones."""
    width = RATE_HZ // 100
    power = np.square(samples[: len(samples) // width * width]).reshape(-1, width).mean(axis=1)
    return float(np.sqrt(power[power > np.percentile(power, 90) * 1e-3].mean()))


def clipped(clip: Planted, rng: np.random.Generator) -> Planted:
    return changed(clip, np.clip(clip.samples / np.abs(clip.samples).max() * rng.uniform(3, 8), -1, 1))


def reverberant(clip: Planted, rng: np.random.Generator) -> Planted:
    """In a room of 1 to 1.5 s (an exponentially fading noise, as loud as the direct sound)."""
    size = round(rng.uniform(1.0, 1.5) * RATE_HZ)
    response = rng.normal(size=size) * 10 ** (-3 * np.arange(size) / size)
    response /= np.sqrt(np.square(response).sum())
    response[0] = 1.0
    wet = fftconvolve(clip.samples, response)
    return changed(clip, 0.5 * wet / np.abs(wet).max())


def over_music(clip: Planted, rng: np.random.Generator) -> Planted:
    paths = sorted(MUSIC.glob("*.wav"))
    if not paths:
        raise UserError(f"{MUSIC} holds no music: apt-get install asterisk-moh-opsound-wav")
    music = np.asarray(soundfile.read(paths[rng.integers(len(paths))])[0])
    start = int(rng.integers(RATE_HZ * 5, len(music) - len(clip.samples)))
    return changed(clip, with_noise(clip.samples, 8, rng, music[start : start + len(clip.samples)]))


def cut(clip: Planted, rng: np.random.Generator, at_end: bool) -> Planted:
    """Half of the sound under the whole text, cut in the middle of a loud place."""
    middle = len(clip.samples) // 2
    frames = np.square(clip.samples[: len(clip.samples) // 80 * 80]).reshape(-1, 80).mean(axis=1)
    near = np.arange(len(frames) * 2 // 5, len(frames) * 3 // 5)
    loud = near[frames[near] > np.percentile(frames, 60)]
    middle = int(loud[len(loud) // 2]) * 80 if len(loud) else middle
    return changed(clip, clip.samples[:middle] if at_end else clip.samples[middle:])


def changed(clip: Planted, samples: Sound, **others: object) -> Planted:
    return Planted(**{**vars(clip), "samples": samples, **others})


def silent_end(clip: Planted, rng: np.random.Generator) -> Planted:
    silence = rng.normal(size=round(12 * RATE_HZ + 3 * len(clip.samples))) * 1e-4
    return changed(clip, np.concatenate([clip.samples, silence]))


SOUND_FAULTS: dict[str, Callable[[Planted, np.random.Generator], Planted]] = {
    "clipped": clipped,
    "too_quiet": lambda clip, rng: changed(clip, clip.samples * 0.01, subtype="FLOAT"),
    "noisy": lambda clip, rng: changed(clip, with_noise(clip.samples, rng.uniform(3, 10), rng)),
    "narrow_band": lambda clip, rng: changed(clip, resample_poly(0.7 * clip.samples, 3, 1), rate_hz=3 * RATE_HZ),
    "silent_channel": lambda clip, rng: changed(clip, np.stack([clip.samples, 0 * clip.samples], 1)),
    "reversed_polarity": lambda clip, rng: changed(clip, np.stack([clip.samples, -clip.samples], 1)),
    "offset": lambda clip, rng: changed(clip, 0.7 * clip.samples + rng.choice([-1, 1]) * rng.uniform(0.03, 0.2)),
    "reverberant": reverberant,
    "music": over_music,
    "cut_start": lambda clip, rng: cut(clip, rng, at_end=False),
    "cut_end": lambda clip, rng: cut(clip, rng, at_end=True),
    "mostly_silence": silent_end,
    "integer_samples": lambda clip, rng: changed(clip, clip.samples * 32767, subtype="FLOAT"),
    "not_a_number": lambda clip, rng: changed(
        clip, np.where(rng.random(len(clip.samples)) < 0.001, np.nan, clip.samples), subtype="FLOAT"
    ),
}


def other_faults(
    clean: Iterator[Planted], originals: list[Planted], per_kind: int, rng: np.random.Generator
) -> Iterator[tuple[str, int, Planted, str | None]]:
    """Kind, number, clip and the file that it repeats: length, duplicates, voices, texts and files."""
    letters = [prompt for prompt in prompts("en") if len(prompt.samples) < 0.7 * RATE_HZ]
    containers = ((".wav", "GSM610"), (".WAV", "DOUBLE"), (".aiff", "PCM_24"), (".opus", "OPUS"), (".mp3", None))
    shifted = [next(clean) for _ in range(per_kind)]
    for index in range(per_kind):
        short = letters[index % len(letters)]
        yield "too_short", index, Planted(short.samples, short.text), None
        yield "too_long", index, joined([next(clean) for _ in range(14)]), None
        original = int(rng.integers(len(originals)))
        yield "same_bytes", index, originals[original], f"clean_{original:03}.wav"
        original = int(rng.integers(len(originals)))
        yield "same_sound", index, encoded_again(originals[original], index, rng), f"clean_{original:03}.wav"
        yield "wrong_text", index, changed(next(clean), next(clean).samples), None
        moved = changed(shifted[index], shifted[index].samples, text=shifted[index - 1].text)
        yield "shifted_text", index, moved, None
        clip = next(clean)
        yield "markup", index, changed(clip, clip.samples, text=MARKUP[index % len(MARKUP)].format(clip.text)), None
        clip = next(clean)
        encoding = ("cp1252", "utf-16")[index % 2]
        yield "text_encoding", index, changed(clip, clip.samples, text=f"“{clip.text}”", encoding=encoding), None
        clip = next(clean)
        suffix, subtype = containers[index % len(containers)]
        yield "container", index, changed(clip, clip.samples, suffix=suffix, subtype=subtype), None
        clip = next(clean)
        yield "no_text", index, changed(clip, clip.samples, text=""), None
        clip = next(clean)
        yield "text_too_long", index, changed(clip, clip.samples, text=" ".join([clip.text] * 4)), None
    for kind, language in (("other_voice", "fr"), ("third_voice", "it")):
        others = pairs([prompt for prompt in prompts(language) if 0.8 < len(prompt.samples) / RATE_HZ < 8], rng)
        for index in range(per_kind):
            yield kind, index, next(others), None
    for index in range(per_kind):
        clip = next(clean)
        seconds = (None, 1.0)[index // 2 % 2]
        mixed = with_voice(clip.samples, prompts(("fr", "it")[index % 2]), LEVELS_BELOW_DB[index % 3], seconds, rng)
        yield "voices_at_once", index, changed(clip, mixed), None


def joined(clips: list[Planted]) -> Planted:
    return Planted(np.concatenate([clip.samples for clip in clips]), " ".join(clip.text for clip in clips))


def encoded_again(clip: Planted, index: int, rng: np.random.Generator) -> Planted:
    """As mp3, as ogg, quieter at another rate, or with up to a second of silence on both sides."""
    if index % 4 == 0:
        return changed(clip, clip.samples, suffix=".mp3", subtype=None)
    if index % 4 == 1:
        return changed(clip, clip.samples, suffix=".ogg", subtype=None)
    if index % 4 == 2:
        return changed(clip, 0.3 * resample_poly(clip.samples, 2, 1), rate_hz=2 * RATE_HZ)
    before, after = (np.zeros(round(rng.uniform(0, 1) * RATE_HZ)) for _ in range(2))
    return changed(clip, np.concatenate([before, clip.samples, after]))


def write_sound(path: Path, clip: Planted) -> None:
    kind = {".aiff": "AIFF", ".opus": "OGG", ".ogg": "OGG", ".mp3": "MP3"}.get(path.suffix, "WAV")
    samples = clip.samples if clip.subtype == "FLOAT" else np.clip(clip.samples, -1, 1)
    soundfile.write(path, samples, clip.rate_hz, format=kind, subtype=clip.subtype)


if __name__ == "__main__":
    run_script(main)
