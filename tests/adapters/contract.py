"""What every adapter promises, as checks that know nothing but `TTSAdapter`.

A system joins by one `AdapterCase` in `test_contract.CASES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.audio import load_clip
from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import Features
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.utterance import Utterance
from calm_ft.finetuning.strategy import Strategy
from calm_ft.randomness import make_rng
from tests.adapters.recordings import write_speechlike

SENTENCES = ["A sentence of some length, with a comma.", "Yes.", "Three words here."]
DURATIONS_SEC = [2.6, 1.0, 1.7]


@dataclass(frozen=True)
class AdapterCase:
    """make: the adapter; reload: one from an exported folder; strategies: those that it can be trained with."""

    name: str
    make: Callable[[], TTSAdapter]
    reload: Callable[[Path], TTSAdapter]
    strategies: list[Strategy]


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
    adapter.fit_statistics(clip.features() for clip in clips)
    strategy.apply(adapter, lr=1e-3)
    first, last = fit_batch(adapter, adapter.collate(examples(clips)), num_steps=30, lr=1e-3)
    assert last < 0.97 * first


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
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def check_only_selected_components_move(case: AdapterCase, strategy: Strategy, folder: Path) -> None:
    adapter = case.make()
    batch = adapter.collate(examples(encoded(adapter, folder)))
    strategy.apply(adapter, lr=1e-2)
    before = snapshot(adapter)
    fit_batch(adapter, batch, num_steps=3, lr=1e-2)  # layers that start at zero hold back others' gradients
    after, selected = snapshot(adapter), strategy.selected(adapter)
    for name, part in adapter.components().items():
        moved = [not torch.equal(before[key], after[key]) for key in names_of(adapter, part)]
        assert all(moved) if name in selected else not any(moved), name
    assert all(torch.equal(before[name], buffer) for name, buffer in adapter.named_buffers())


def check_features_change_only_with_the_fingerprint(case: AdapterCase, folder: Path) -> None:
    adapter = case.make()
    clips = [load_clip(each, adapter.sample_rate_hz, 0.2) for each in recordings(folder, adapter.sample_rate_hz)]
    features, fingerprint = adapter.encode(clips), adapter.feature_fingerprint()
    by_duration = sorted(range(len(clips)), key=lambda i: DURATIONS_SEC[i])
    assert by_duration == sorted(range(len(clips)), key=lambda i: adapter.num_frames(features[i]))
    changed = []
    for part in adapter.components().values():
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.mul_(1.01)
        new_features, new_fingerprint = adapter.encode(clips), adapter.feature_fingerprint()
        changed.append(differ(features, new_features))
        assert new_fingerprint != fingerprint or not changed[-1]
        features, fingerprint = new_features, new_fingerprint
    assert any(changed)


def check_an_export_reloads_with_the_same_residuals(case: AdapterCase, strategy: Strategy, folder: Path) -> None:
    adapter = case.make()
    clips = encoded(adapter, folder)
    adapter.fit_statistics(clip.features() for clip in clips)
    strategy.apply(adapter, lr=1e-2)
    batch = adapter.collate(examples(clips))
    base = adapter.residuals(batch, seed=1).values
    fit_batch(adapter, batch, num_steps=2, lr=1e-2)
    adapter.export(folder / "export", folder / "clip0.wav")
    expected = adapter.residuals(batch, seed=1).values
    reloaded = case.reload(folder / "export")
    found = reloaded.residuals(reloaded.collate(examples(clips)), seed=1).values
    assert any(not torch.equal(base[name], expected[name]) for name in base)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


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
