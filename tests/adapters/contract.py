"""What every adapter promises, as checks that know nothing but `TTSAdapter`.

A system joins by one `AdapterCase` in `test_contract.CASES`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from calm_ft.adapters.base import FitsStatistics, TTSAdapter
from calm_ft.adapters.voice_library import VoiceLibrary, VoiceNotes
from calm_ft.data.audio import load_clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.utterance import Utterance
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Strategy
from calm_ft.randomness import make_rng
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.resume import ResumePoint, read_checkpoint
from calm_ft.training.settings import CheckpointSettings
from tests.adapters.recordings import write_speechlike
from tests.training.tiny_run import assert_same, fit, trained_state

SENTENCES = ["A sentence of some length, with a comma.", "Yes.", "Three words here."]
DURATIONS_SEC = [2.6, 1.0, 1.7]


@dataclass(frozen=True)
class AdapterCase:
    """make: the adapter; reload: one from an exported folder; strategies: those that it can be trained with.

    features_have_weights: whether `encode` runs a network; a mel spectrogram has no weights.
    loss_draws: whether the loss draws anything; cross-entropy of rows of which nothing is dropped does not.
    """

    name: str
    make: Callable[[], TTSAdapter]
    reload: Callable[[Path], TTSAdapter]
    strategies: list[Strategy]
    features_have_weights: bool = True
    loss_draws: bool = True


def recordings(folder: Path, rate_hz: int) -> list[Utterance]:
    """Clips of unequal lengths with their texts."""
    return [
        Utterance(f"clip{i}", write_speechlike(folder / f"clip{i}.wav", DURATIONS_SEC[i], rate_hz, seed=i), text)
        for i, text in enumerate(SENTENCES)
    ]


def encoded(adapter: TTSAdapter, folder: Path) -> list[EncodedUtterance]:
    """The recordings through the project's own preparation and cache."""
    utterances = recordings(folder, adapter.sample_rate_hz)
    return encode_recordings(utterances, adapter, folder / "cache", 0.2, 20.0, progress=False).encoded


def examples(clips: list[EncodedUtterance]) -> list[Example]:
    """Each clip prompted by the next, the last one by none."""
    prompts = [*clips[1:], None]
    return [Example(clip, prompt, seed=7) for clip, prompt in zip(clips, prompts, strict=True)]


def fit_statistics(adapter: TTSAdapter, clips: list[EncodedUtterance]) -> None:
    """As the trainer does it."""
    if isinstance(adapter, FitsStatistics):
        adapter.fit_statistics(clip.features() for clip in clips)


def fit_batch(adapter: TTSAdapter, batch: Any, num_steps: int, lr: float) -> list[float]:
    """Losses of AdamW steps on one batch, each a mean over ten draws so that they compare."""
    optimizer = torch.optim.AdamW([p for p in adapter.parameters() if p.requires_grad], lr=lr)

    def mean_loss() -> float:
        with torch.no_grad():
            return sum(adapter.loss(batch, make_rng(d, "measure")).total.item() for d in range(10)) / 10

    losses = [mean_loss()]
    for step in range(num_steps):
        optimizer.zero_grad()
        adapter.loss(batch, make_rng(step, "train")).total.backward()
        optimizer.step()
    return [*losses, mean_loss()]


def check_loss_falls(case: AdapterCase, strategy: Strategy, folder: Path) -> None:
    adapter = case.make()
    clips = encoded(adapter, folder)
    fit_statistics(adapter, clips)
    lr = 1e-2 if isinstance(strategy, Lora) else 1e-3  # a tenth of the parameters, starting at no update
    strategy.apply(adapter, lr)
    first, last = fit_batch(adapter, adapter.collate(examples(clips)), num_steps=30, lr=lr)
    assert last < 0.97 * first


def check_every_parameter_is_in_one_component(case: AdapterCase) -> None:
    """And layers of a stack are numbered from 0, so that strategies find the last ones."""
    adapter = case.make()
    parts = adapter.components()
    counts = Counter(id(p) for part in parts.values() for p in part.module.parameters())
    assert counts == Counter(id(p) for p in adapter.parameters())
    stacks: dict[str | None, list[int | None]] = {}
    for part in parts.values():
        if part.role == "layer":
            stacks.setdefault(part.stack, []).append(part.layer_index)
        own = {id(p) for p in part.module.parameters()}
        assert all(id(p) in own for block in part.hidden_blocks for p in block.parameters())
    assert all(indices == list(range(len(indices))) for indices in stacks.values())
    assert any(part.trainable for part in parts.values())


def check_rows_are_independent(case: AdapterCase, folder: Path) -> None:
    """Neither padding nor order nor batch mates reach a row's residuals."""
    adapter = case.make()
    rows = examples(encoded(adapter, folder))
    together = adapter.residuals(adapter.collate(rows), seed=3)
    backwards = adapter.residuals(adapter.collate(rows[::-1]), seed=3)
    alone = [adapter.residuals(adapter.collate([row]), seed=3) for row in rows]
    assert together.num_frames.tolist() == [int(each.num_frames[0]) for each in alone]
    for name, values in together.values.items():
        singles = torch.stack([each.values[name][0] for each in alone])
        torch.testing.assert_close(values, singles, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backwards.values[name].flip(0), singles, rtol=1e-4, atol=1e-5)


def check_draws_come_from_the_generator(case: AdapterCase, folder: Path) -> None:
    adapter = case.make()
    batch = adapter.collate(examples(encoded(adapter, folder)))
    state = torch.get_rng_state()
    one, same, other = (adapter.loss(batch, make_rng(seed, "loss")).total for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert torch.equal(one, other) != case.loss_draws
    assert torch.equal(torch.get_rng_state(), state)


def check_only_selected_components_move(case: AdapterCase, strategy: Strategy, folder: Path) -> None:
    adapter = case.make()
    batch = adapter.collate(examples(encoded(adapter, folder)))
    strategy.apply(adapter, lr=1e-2)
    before = snapshot(adapter)
    fit_batch(adapter, batch, num_steps=3, lr=1e-2)  # layers that start at zero hold back others' gradients
    after, selected = snapshot(adapter), strategy.selected(adapter)
    moved = {name for name, tensor in after.items() if not torch.equal(before[name], tensor)}
    for name, component in adapter.components().items():
        part = component.module
        trained = {key for key in names_of(adapter, part) if adapter.get_parameter(key).requires_grad}
        assert bool(trained) == (name in selected), name
        assert moved & set(names_of(adapter, part)) == trained, name
    assert not moved & {name for name, _ in adapter.named_buffers()}


def check_a_resumed_run_is_the_run_that_was_not_cut(case: AdapterCase, strategy: Strategy, folder: Path) -> None:
    clips = encoded(case.make(), folder)
    settings = CheckpointSettings(every_n_steps=2, keep=3, monitor="val/residual", mode="min")
    whole, resumed = folder / "whole", folder / "resumed"
    common: dict[str, Any] = {"strategy": strategy, "max_steps": 4, "num_validation": 1}
    first, _ = fit(case.make(), clips, whole, callbacks=checkpoint_callbacks(whole / "checkpoints", settings), **common)
    path = whole / "checkpoints" / "step-00000002.ckpt"
    again, trainer = fit(case.make(), clips, resumed, point=ResumePoint(path, 2, read_checkpoint(path)), **common)
    assert trainer.global_step == 4
    assert_same(trained_state(first), trained_state(again))
    assert_same(first.ema.shadow, again.ema.shadow)


def check_a_second_run_encodes_nothing_unless_a_weight_changed(case: AdapterCase, folder: Path) -> None:
    adapter = case.make()
    utterances = recordings(folder, adapter.sample_rate_hz)

    def num_encoded() -> int:
        return encode_recordings(utterances, adapter, folder / "cache", 0.2, 20.0, progress=False).num_encoded

    assert [num_encoded(), num_encoded()] == [len(utterances), 0]
    changed = set()
    for name, part in adapter.components().items():
        before = adapter.feature_fingerprint()
        with torch.no_grad():
            for parameter in part.module.parameters():
                parameter.mul_(1.01)
        assert num_encoded() == (0 if adapter.feature_fingerprint() == before else len(utterances)), name
        changed |= {name} if adapter.feature_fingerprint() != before else set()
    assert bool(changed) == case.features_have_weights
    assert not any(adapter.components()[name].trainable for name in changed)


def check_features_change_only_with_the_fingerprint(case: AdapterCase, folder: Path) -> None:
    adapter = case.make()
    clips = [load_clip(each, adapter.sample_rate_hz, 0.2) for each in recordings(folder, adapter.sample_rate_hz)]
    features, fingerprint = adapter.encode(clips), adapter.feature_fingerprint()
    by_duration = sorted(range(len(clips)), key=lambda i: DURATIONS_SEC[i])
    assert by_duration == sorted(range(len(clips)), key=lambda i: adapter.num_frames(features[i]))
    changed = []
    for part in adapter.components().values():
        with torch.no_grad():
            for parameter in part.module.parameters():
                parameter.mul_(1.01)
        new_features, new_fingerprint = adapter.encode(clips), adapter.feature_fingerprint()
        changed.append(differ(features, new_features))
        assert new_fingerprint != fingerprint or not changed[-1]
        features, fingerprint = new_features, new_fingerprint
    assert any(changed) == case.features_have_weights


def check_clips_in_several_threads_have_the_features_of_one(case: AdapterCase, folder: Path) -> None:
    adapter = case.make()
    utterances = recordings(folder, adapter.sample_rate_hz)
    found, before = [], torch.get_num_threads()
    for num_threads in (1, 3):
        torch.set_num_threads(num_threads)
        cache = folder / f"threads-{num_threads}"
        clips = encode_recordings(utterances, adapter, cache, 0.2, 20.0, progress=False).encoded
        assert torch.get_num_threads() == num_threads
        found.append([clip.features() for clip in clips])
    torch.set_num_threads(before)
    assert not differ(*found)


def check_an_export_reloads_with_the_same_residuals(case: AdapterCase, strategy: Strategy, folder: Path) -> None:
    adapter = case.make()
    clips = encoded(adapter, folder)
    fit_statistics(adapter, clips)
    strategy.apply(adapter, lr=1e-2)
    batch = adapter.collate(examples(clips))
    base = adapter.eval().residuals(batch, seed=1).values
    strategy.set_modes(adapter)
    fit_batch(adapter, batch, num_steps=2, lr=1e-2)
    adapter.eval()
    adapted = adapter.residuals(batch, seed=1).values
    with strategy.merged(adapter):
        adapter.export(folder / "export", voice_recording(adapter, folder))
        expected = adapter.residuals(batch, seed=1).values
    for name, values in adapted.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-4, atol=1e-5)
    reloaded = case.reload(folder / "export")
    found = reloaded.residuals(reloaded.collate(examples(clips)), seed=1).values
    assert any(not torch.equal(base[name], expected[name]) for name in base)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def check_texts_together_and_in_pieces_are_spoken_as_each_alone(case: AdapterCase, folder: Path) -> None:
    adapter = case.make().eval()
    voice = adapter.load_voice(voice_recording(adapter, folder))
    texts = ["Three words here.", "No."]
    alone = [adapter.synthesize([text], voice, seed)[0] for text, seed in zip(texts, (3, 8), strict=True)]
    begun = slice(0, round(0.4 * adapter.sample_rate_hz))  # later on, what was rounded differently may have grown
    for together in (adapter.synthesize(texts, voice, [3, 8]), adapter.synthesize(texts[::-1], voice, [8, 3])[::-1]):
        for one, other in zip(alone, together, strict=True):
            assert (one.ended, one.sample_rate_hz) == (other.ended, other.sample_rate_hz)
            assert len(other.audio) == pytest.approx(len(one.audio), rel=0.1)
            torch.testing.assert_close(one.audio[begun], other.audio[begun], rtol=0, atol=1e-3)
    assert not torch.allclose(alone[0].audio[begun], alone[1].audio[begun], atol=1e-2)
    pieces = torch.cat(list(adapter.stream(texts[0], voice, seed=3)))
    torch.testing.assert_close(pieces, alone[0].audio, rtol=0, atol=1e-4)
    assert adapter.synthesize([], voice, seed=3) == []
    with pytest.raises(ValueError, match="2 texts and 1 seeds"):
        adapter.synthesize(texts, voice, [3])


def check_a_kept_voice_speaks_as_the_one_that_was_kept(case: AdapterCase, folder: Path) -> None:
    adapter = case.make().eval()
    library = VoiceLibrary(folder / "voices")
    rate_hz, seconds = adapter.sample_rate_hz, 2.0 + adapter.min_voice_sec
    sources = [write_speechlike(folder / f"{seed}.wav", seconds, rate_hz, seed) for seed in (1, 2)]
    library.add("anna", sources, VoiceNotes())
    kept = [library.voice("anna", adapter) for _ in range(2)]  # made, and read where the system keeps voices
    made, read = (adapter.synthesize(["No."], voice, seed=3)[0].audio for voice in kept)
    assert torch.equal(made, read)
    files = [path for path in (library.folder / "anna").iterdir() if path.name.startswith(f"{adapter.name}-")]
    assert len(files) == (0 if adapter.voice_suffix is None else 1)
    assert all(path.suffix == adapter.voice_suffix for path in files)
    assert case.make().eval().voice_fingerprint() == adapter.voice_fingerprint()


def voice_recording(adapter: TTSAdapter, folder: Path) -> Path:
    """A recording that is long enough for a voice of the system."""
    return write_speechlike(folder / "voice.wav", 2.0 + adapter.min_voice_sec, adapter.sample_rate_hz)


def snapshot(adapter: TTSAdapter) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: t.detach().clone() for name, t in [*adapter.named_parameters(), *adapter.named_buffers()]}


def names_of(adapter: TTSAdapter, part: torch.nn.Module) -> list[str]:
    """The adapter's names of a component's parameters."""
    own = {id(p) for p in part.parameters()}
    return [name for name, p in adapter.named_parameters() if id(p) in own]


def differ(one: list[Features], other: list[Features]) -> bool:
    """Whether any tensor of any clip differs."""
    pairs = zip(one, other, strict=True)
    return any(not torch.equal(left[name], right[name]) for left, right in pairs for name in left)
