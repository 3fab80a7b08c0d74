"""Synthesis against the stock package, on the embedded model; nothing is asked about how it sounds."""

import copy

import pytest
import torch
from pocket_tts.models.tts_model import TTSModel
from torch import Tensor

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.generation import Chunk, GenerationSettings, generate_latents
from calm_ft.adapters.pocket_tts.rows import drop_conditioning
from calm_ft.adapters.pocket_tts.synthesis import decode_audio
from calm_ft.data.audio import load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.metrics.distortion import mel_cepstral_distortion
from tests.adapters.recordings import write_speechlike
from tests.conftest import NANO, default_objective

LONG_TEXT = (
    'She said, "Wait for me!", and left; nobody moved. The rain went on all night, and the river rose slowly over '
    "its banks. In the morning everything was quiet again, but the bridge was gone."
)
QUIET = {"temperature": 0.3}


@pytest.fixture(scope="module")
def nano() -> PocketTTSAdapter:
    """One embedded model for all tests of this file, none of which changes it."""
    return PocketTTSAdapter(str(NANO), default_objective()).eval()


@pytest.fixture(scope="module")
def voice(nano, tmp_path_factory):
    path = write_speechlike(tmp_path_factory.mktemp("voice") / "voice.wav", 2.5, 16000)
    return nano.load_voice(path)


class StockRun:
    """Stock generation with every draw of noise and every latent of each chunk on record."""

    def __init__(self, monkeypatch, voice, text: str) -> None:
        monkeypatch.chdir(NANO)  # stock takes the yaml's paths from the working directory
        stock = TTSModel.load_model(config="config.yaml")
        stock.max_decoder_frames_per_call = 1
        self.chunks: list[list[tuple[Tensor, Tensor]]] = []
        self._drawn = torch.empty(0)
        normal = torch.nn.init.normal_

        def recorded_normal(tensor: Tensor, *args, **kwargs) -> Tensor:
            self._drawn = normal(tensor, *args, **kwargs).clone()
            return tensor

        monkeypatch.setattr(torch.nn.init, "normal_", recorded_normal)
        stock.flow_lm.register_forward_hook(self._record, with_kwargs=True)
        torch.manual_seed(11)
        self.audio = stock.generate_audio(copy.deepcopy(voice), text)

    def _record(self, module, args, kwargs, output) -> None:
        if kwargs["sequence"].shape[1] == 0:  # a prompt: its draw is thrown away, and a chunk begins
            self.chunks.append([])
        else:
            self.chunks[-1].append((self._drawn, output[0]))


@pytest.mark.parametrize("text", ["A short one.", LONG_TEXT])
def test_with_stocks_noise_our_latents_and_audio_are_stocks(nano, voice, monkeypatch, text):
    stock = StockRun(monkeypatch, voice, text)
    chunks = nano.text.chunks(text)
    assert len(chunks) == len(stock.chunks)
    assert len(chunks) == (1 if text != LONG_TEXT else 3)
    settings = GenerationSettings(nano.tts.temp, num_steps=1, eos_threshold=nano.tts.eos_threshold)
    std = nano.tts.temp**0.5  # what stock draws is scaled already
    audio = []
    for (tokens, frames_after_eos), recorded in zip(chunks, stock.chunks, strict=True):
        draws = iter([draw / std for draw, _ in recorded])
        chunk = Chunk(tokens, frames_after_eos, draws.__next__)
        (ours,) = generate_latents(nano.tts, voice, [chunk], settings)
        theirs = torch.cat([latent for _, latent in recorded])
        theirs = theirs[: len(ours.latents)]
        # Stock's last step is drawn and thrown away, unless the length limit ended it.
        assert len(recorded) - len(theirs) == int(ours.ended)
        assert len(theirs) > 10
        assert (ours.latents - theirs).abs().max() < 1e-4
        audio.append(decode_audio(nano.tts, ours.latents))
    assert (torch.cat(audio) - stock.audio).abs().max() < 1e-4


def assert_begins_alike(one: Tensor, other: Tensor) -> None:
    """The first 0.3 s: what another shape of a matrix product rounds differently has not grown yet."""
    torch.testing.assert_close(one[:4800], other[:4800], rtol=0, atol=1e-4)


def test_noise_belongs_to_seed_and_index(nano, voice):
    texts = ["One thing.", "Another thing."]
    both = nano.synthesize(texts, voice, seed=4, **QUIET)
    again = nano.synthesize(texts, voice, seed=4, **QUIET)
    assert all(torch.equal(one.audio, other.audio) for one, other in zip(both, again, strict=True))
    assert_begins_alike(nano.synthesize(texts[:1], voice, seed=4, **QUIET)[0].audio, both[0].audio)
    assert_begins_alike(nano.synthesize(["Other.", texts[1]], voice, seed=4, **QUIET)[1].audio, both[1].audio)
    other_seed = nano.synthesize(texts[:1], voice, seed=5, **QUIET)[0].audio
    assert other_seed.shape != both[0].audio.shape or not torch.equal(other_seed, both[0].audio)
    moved = nano.synthesize(texts[::-1], voice, seed=4, **QUIET)[1].audio
    assert moved.shape != both[0].audio.shape or not torch.equal(moved, both[0].audio)


def test_speaking_neither_changes_the_voice_nor_asks_the_global_generator(nano, voice):
    before, state = copy.deepcopy(voice), torch.get_rng_state()
    nano.synthesize(["Once."], voice, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    for name, part in before.items():
        assert all(torch.equal(value.nan_to_num(), voice[name][key].nan_to_num()) for key, value in part.items())


def test_temperature_zero_is_the_same_for_every_seed(nano, voice):
    cold = [nano.synthesize(["Still water."], voice, seed=s, temperature=0.0)[0].audio for s in (1, 2)]
    assert torch.equal(*cold)


def test_guidance_of_one_is_none_and_above_one_changes_the_audio(nano, voice, monkeypatch):
    monkeypatch.setattr(nano, "has_null_branch", True)
    plain, one, two = (
        nano.synthesize(["Guide me."], voice, seed=2, temperature=0.0, cfg_coef=coef)[0].audio
        for coef in (1.0, 1.0 + 1e-9, 2.0)
    )
    assert torch.allclose(plain, one, atol=1e-4)
    assert plain.shape != two.shape or not torch.allclose(plain, two, atol=1e-3)


def test_guidance_extrapolates_from_the_row_that_has_neither_text_nor_voice(nano, voice, make_example):
    """The null branch is the training row of a dropped condition, so frame 0 can be computed from there."""
    batch = drop_conditioning(nano.collate([make_example(nano, "null", 1, "Never heard.", 14)]), 1.0, 0)
    z_null = nano.hidden(batch).z[:, 0]
    tokens = nano.text.tokens("Guide me.")
    zs = []
    hook = nano.flow_lm.flow_net.register_forward_pre_hook(lambda _, args: zs.append(args[0]))
    for coef in (1.0, 3.0):
        settings = GenerationSettings(0.0, 1, 1e9, coef)
        chunk = Chunk(tokens, 1, lambda: torch.zeros(1, nano.flow_lm.ldim))
        generate_latents(nano.tts, voice, [chunk], settings)
        if coef == 1.0:
            z_cond = zs[0]
            zs.clear()
    hook.remove()
    torch.testing.assert_close(zs[0], z_null + 3.0 * (z_cond - z_null), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", ["a", '"Well," she said, "no!"', "Semi; colon: dash - and ... dots", "1,5 or 2.5?"])
def test_odd_texts_are_spoken(nano, voice, text):
    spoken = nano.synthesize([text], voice, seed=0)[0]
    assert spoken.sample_rate_hz == 16000
    assert spoken.audio.ndim == 1
    assert len(spoken.audio) % nano.mimi.frame_size == 0
    assert bool(spoken.audio.isfinite().all())
    assert 0.01 < float(spoken.audio.abs().max()) < 2


def test_generation_that_meets_the_length_limit_says_so(nano, voice):
    tokens = nano.text.tokens("Endless.")
    settings = GenerationSettings(0.3, 1, eos_threshold=1e9)
    chunk = Chunk(tokens, 1, lambda: torch.zeros(1, nano.flow_lm.ldim))
    (endless,) = generate_latents(nano.tts, voice, [chunk], settings)
    assert not endless.ended
    assert len(endless.latents) == nano.tts._estimate_max_gen_len(len(tokens))


def test_more_steps_of_the_flow_map_change_the_audio_but_little_of_its_length(nano, voice):
    one, four = (
        nano.synthesize(["Step by step."], voice, seed=3, temperature=0.0, num_steps=n)[0].audio for n in (1, 4)
    )
    assert one.shape != four.shape or not torch.equal(one, four)
    assert len(four) < 2 * len(one)


def test_a_recording_is_the_same_voice_to_us_and_to_stock(nano, tmp_path):
    path = write_speechlike(tmp_path / "voice.wav", 2.0, 16000, seed=5)
    ours, stock = nano.load_voice(path), nano.tts.get_state_for_audio_prompt(path)
    assert ours.keys() == stock.keys()
    for name, part in stock.items():
        assert part["offset"].item() == ours[name]["offset"].item() > 20
        torch.testing.assert_close(ours[name]["cache"], part["cache"], rtol=1e-4, atol=1e-4)


def test_a_round_trip_is_as_long_as_the_recording_and_hardly_changes_its_sound(nano, speech_file) -> None:
    clip = load_clip(Utterance("clip", speech_file, ""), nano.sample_rate_hz, tail_sec=0.2)
    copy = nano.reconstruct(clip.samples)
    assert copy.shape == clip.samples.shape
    same = mel_cepstral_distortion(clip.samples, copy, nano.sample_rate_hz)
    other = mel_cepstral_distortion(clip.samples, clip.samples.flip(0), nano.sample_rate_hz)
    assert same < 5 < other
