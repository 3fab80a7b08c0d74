"""Texts spoken together are what each is alone, and what has ended costs nothing.

The embedded model hears itself: what rounding makes of its first frame (1e-6) grows some 1.4 times a frame, also where
a text is spoken alone with one thread and with two. So what a batch says is compared frame by frame with the training
row of the frames before it, and as a whole on tiny models, where rounding stays as small as it is.
"""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from pocket_tts.data.audio_utils import end_on_pause
from pocket_tts.modules.stateful_module import ModelState
from torch import Tensor

from calm_ft.adapters.pocket_tts import generation, synthesis
from calm_ft.adapters.pocket_tts import text as text_module
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.generation import Chunk, GeneratedLatents, GenerationSettings, generate_latents
from calm_ft.adapters.pocket_tts.rows import assemble_rows, backbone_outputs
from calm_ft.adapters.pocket_tts.synthesis import voice_from_audio
from calm_ft.data.audio import load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.flow.sampling import sample_flow_map
from tests.adapters.recordings import write_speechlike
from tests.adapters.tiny_bundle import write_tiny_bundle
from tests.conftest import DEMO_TRAIN, NANO, default_objective, flow_matching_objective

TEXTS = ["One.", "Why? No one knows.", "Pack my box!", "A fox."]
LONG_TEXT = "Nobody moved, and the river rose over its banks. " * 2
TINY_SHAPES: list[dict] = [
    {},
    {"head": "flow_matching", "num_kv_heads": 1},
    {"num_layers": 2, "bos_before_voice": False},
]
NUM_STEPS = 2


@pytest.fixture(scope="module", params=TINY_SHAPES, ids=str)
def tiny(request, tmp_path_factory) -> PocketTTSAdapter:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", **request.param)
    return PocketTTSAdapter(str(bundle), flow_matching_objective()).eval()  # it trains every head


@pytest.fixture(scope="module")
def tiny_voice(tiny, tmp_path_factory) -> ModelState:
    path = write_speechlike(tmp_path_factory.mktemp("voice") / "voice.wav", 2.0, tiny.sample_rate_hz)
    return tiny.load_voice(path)


@pytest.fixture(scope="module")
def nano() -> PocketTTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective()).eval()


def chunks_of(adapter: PocketTTSAdapter, texts: Sequence[str], frames_after_eos: int = 2) -> list[Chunk]:
    """One a text, with noise by its place."""

    def chunk(place: int, text: str) -> Chunk:
        rng = torch.Generator().manual_seed(place)
        return Chunk(
            adapter.text.tokens(text), frames_after_eos, lambda: torch.randn(1, adapter.flow_lm.ldim, generator=rng)
        )

    return [chunk(place, text) for place, text in enumerate(texts)]


def some_end(adapter: PocketTTSAdapter, voice: ModelState, cfg_coef: float) -> GenerationSettings:
    """Settings under which some of TEXTS end by themselves, at different frames, and some do not."""
    logits: list[float] = []
    hook = adapter.flow_lm.out_eos.register_forward_hook(lambda _, __, output: logits.extend(output.view(-1).tolist()))
    endless = GenerationSettings(0.3, NUM_STEPS, 1e9, cfg_coef)
    generate_latents(adapter.tts, voice, chunks_of(adapter, TEXTS), endless)
    hook.remove()
    return GenerationSettings(0.3, NUM_STEPS, float(torch.tensor(logits).quantile(0.98)), cfg_coef)


def assert_same(ours: list[GeneratedLatents], theirs: list[GeneratedLatents]) -> None:
    assert [(len(each.latents), each.ended) for each in ours] == [(len(each.latents), each.ended) for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.latents, other.latents, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cfg_coef", [1.0, 2.0])
def test_rows_of_a_batch_are_what_each_is_alone_in_any_order_and_company(tiny, tiny_voice, cfg_coef):
    settings = some_end(tiny, tiny_voice, cfg_coef)
    alone = [generate_latents(tiny.tts, tiny_voice, [each], settings)[0] for each in chunks_of(tiny, TEXTS)]
    assert {each.ended for each in alone} == {True, False}
    assert len({len(each.latents) for each in alone}) > 2
    assert_same(generate_latents(tiny.tts, tiny_voice, chunks_of(tiny, TEXTS), settings), alone)
    backwards = generate_latents(tiny.tts, tiny_voice, chunks_of(tiny, TEXTS)[::-1], settings)
    assert_same(backwards[::-1], alone)
    assert_same(generate_latents(tiny.tts, tiny_voice, chunks_of(tiny, TEXTS)[1:3], settings), alone[1:3])


@pytest.mark.parametrize("cfg_coef", [1.0, 2.0])
def test_a_row_that_is_done_costs_nothing(tiny, tiny_voice, cfg_coef):
    settings = some_end(tiny, tiny_voice, cfg_coef)
    rows_run: list[int] = []
    hook = tiny.flow_lm.transformer.register_forward_hook(lambda _, args, __: rows_run.append(len(args[0])))
    spoken = generate_latents(tiny.tts, tiny_voice, chunks_of(tiny, TEXTS), settings)
    hook.remove()
    frames = sum(len(each.latents) + each.ended for each in spoken)  # one is looked at to hear the end, not spoken
    prompts = 1 if cfg_coef == 1 else 1 + tiny.flow_lm.insert_bos_before_voice
    branches = 1 if cfg_coef == 1 else 2
    assert sum(rows_run[prompts:]) == branches * frames


def test_texts_of_several_chunks_and_more_texts_than_fit_are_spoken_as_alone(tiny_bundle, monkeypatch):
    tiny = PocketTTSAdapter(str(tiny_bundle), default_objective()).eval()
    tiny.tts.eos_threshold = 0.4
    voice = voice_from_audio(tiny.tts, torch.zeros(tiny.sample_rate_hz))
    monkeypatch.setattr(synthesis, "MAX_ROWS", 3)
    assert len(tiny.text.chunks(LONG_TEXT)) > 1
    texts, seeds = [LONG_TEXT, *TEXTS], [100, 101, 102, 103, 104]
    rows_run: list[int] = []
    hook = tiny.flow_lm.transformer.register_forward_hook(lambda _, args, __: rows_run.append(len(args[0])))
    together = tiny.synthesize(texts, voice, seeds)
    hook.remove()
    assert max(rows_run) == 3
    assert {spoken.ended for spoken in together} == {True, False}
    for text, seed, spoken in zip(texts, seeds, together, strict=True):
        alone = tiny.synthesize([text], voice, seed)[0]
        assert alone.ended == spoken.ended
        torch.testing.assert_close(alone.audio, spoken.audio, rtol=0, atol=1e-4)


def test_no_texts_are_no_speech(nano):
    voice = voice_from_audio(nano.tts, torch.zeros(nano.sample_rate_hz))
    assert nano.synthesize([], voice, seed=0) == []


class EmbeddedBatch:
    """12 demo sentences spoken together by the embedded model, with every draw of noise on record."""

    def __init__(self, nano: PocketTTSAdapter) -> None:
        recording = sorted(DEMO_TRAIN.glob("*.ogg"))[0]
        samples = load_clip(Utterance("voice", recording, ""), nano.sample_rate_hz, 0.2).samples
        self.voice = voice_from_audio(nano.tts, samples)
        self.prompt = nano.mimi.encode_to_latent(end_on_pause(samples[None], nano.sample_rate_hz)[None])
        texts = [path.read_text(encoding="utf-8").strip() for path in sorted(DEMO_TRAIN.glob("*.txt"))[:12]]
        self.settings = GenerationSettings(nano.tts.temp, 1, nano.tts.eos_threshold)
        self.noise: list[list[Tensor]] = [[] for _ in texts]
        self.chunks = chunks_of(nano, texts, frames_after_eos=1)
        recorded = [
            Chunk(each.tokens, each.frames_after_eos, self._recorded(place)) for place, each in enumerate(self.chunks)
        ]
        self.spoken = generate_latents(nano.tts, self.voice, recorded, self.settings)
        self.chunks = chunks_of(nano, texts, frames_after_eos=1)

    def _recorded(self, place: int) -> generation.NoiseSource:
        draw = self.chunks[place].noise

        def noise() -> Tensor:
            self.noise[place].append(draw())
            return self.noise[place][-1]

        return noise


@pytest.fixture(scope="module")
def embedded(nano) -> EmbeddedBatch:
    return EmbeddedBatch(nano)


@torch.no_grad()
def teacher_forced(nano: PocketTTSAdapter, embedded: EmbeddedBatch, place: int) -> Tensor:
    """The training row's outputs z [T + 1, D] for the frames that a row of the batch has spoken, and the one past."""
    prompt, tokens = embedded.prompt, torch.tensor([embedded.chunks[place].tokens])
    latents = torch.nn.functional.pad(embedded.spoken[place].latents, (0, 0, 0, 1))[None]
    masks = [torch.ones(1, each.shape[1], dtype=torch.bool) for each in (tokens, prompt)]
    rows, starts = assemble_rows(nano.flow_lm, latents, tokens, masks[0], prompt, masks[1])
    return backbone_outputs(nano.flow_lm, rows, starts, latents.shape[1])[0]


def test_every_frame_of_a_batch_is_what_the_training_row_gives_for_the_frames_before_it(nano, embedded):
    lengths = {len(each.tokens) for each in embedded.chunks}
    assert max(lengths) >= 2 * min(lengths)
    for place, spoken in enumerate(embedded.spoken):
        z = teacher_forced(nano, embedded, place)
        x0 = torch.cat(embedded.noise[place]) * embedded.settings.temperature**0.5
        expected = sample_flow_map(partial(nano.flow_lm.flow_net, z[:-1]), x0)
        torch.testing.assert_close(spoken.latents, expected.detach(), rtol=0, atol=1e-4)


def test_a_batch_ends_each_row_where_the_training_row_hears_its_end(nano, embedded):
    for place, spoken in enumerate(embedded.spoken):
        above = nano.flow_lm.out_eos(teacher_forced(nano, embedded, place)).view(-1) - embedded.settings.eos_threshold
        assert above.abs().min() > 1e-4  # so near the threshold rounding could decide
        heard = (above[generation.MIN_FRAMES_BEFORE_EOS :] > 0).nonzero().view(-1)
        assert spoken.ended
        assert len(spoken.latents) == int(heard[0]) + generation.MIN_FRAMES_BEFORE_EOS + 1


def test_the_embedded_models_sentences_begin_as_alone_and_nearly_all_end_as_alone(nano, embedded):
    num_equal = 0
    for chunk, together in zip(embedded.chunks, embedded.spoken, strict=True):
        (alone,) = generate_latents(nano.tts, embedded.voice, [chunk], embedded.settings)
        torch.testing.assert_close(alone.latents[:5], together.latents[:5], rtol=0, atol=1e-4)
        num_equal += len(alone.latents) == len(together.latents) and alone.ended == together.ended
    assert num_equal >= 9


def test_a_text_in_pieces_is_the_text_as_a_whole(nano, embedded, monkeypatch):
    monkeypatch.setattr(text_module, "MAX_TOKENS_PER_CHUNK", 12)
    text = "Nobody moved at all. The river rose slowly."
    assert len(nano.text.chunks(text)) > 1
    whole = nano.synthesize([text], embedded.voice, seed=3)[0].audio
    pieces = list(nano.stream(text, embedded.voice, seed=3))
    assert len(pieces) > 12
    assert {len(piece) for piece in pieces} == {nano.mimi.frame_size}
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-5)


def test_the_first_piece_comes_before_the_second_frame_is_drawn(nano, embedded):
    frames_drawn: list[int] = []
    hook = nano.flow_lm.flow_net.register_forward_hook(lambda *_: frames_drawn.append(1))
    pieces = nano.stream("Nobody moved, and the river rose.", embedded.voice, seed=3)
    first = next(pieces)
    assert len(frames_drawn) == 1
    assert len(first) == nano.mimi.frame_size
    hook.remove()
