"""Learning a voice by an offset, a prompt or LoRA: what each does to a new voice's residual, at equal steps.

python -m benchmarks.chatterbox_voice --output results.json

The tiny Chatterbox has random weights, so this says nothing about speech. Its T3 first learns the embedded base voices,
so that what it is conditioned on may come to mean something; then it meets the demo's voice. The same is done with
fresh weights, at the rates that were best. Residuals are nats a speech token on held-out clips.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.measuring import parser_of, positive
from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy
from calm_ft.atomic_file import write_text
from calm_ft.data.dataset import Example
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.prompts import PromptPool
from calm_ft.data.sources import read_recordings
from calm_ft.errors import run_script
from calm_ft.evaluation.base_voices import read_voice_folders
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Full, Strategy
from calm_ft.finetuning.voice import SoftVoicePrompt, SpeakerOffset
from calm_ft.randomness import make_rng

ASSETS = Path(__file__).parents[1] / "calm_ft" / "assets"
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WAYS: dict[str, tuple[Callable[[], Strategy], tuple[float, ...]]] = {
    "speaker_offset": (SpeakerOffset, (1e-2, 1e-1, 1.0)),
    "voice_prompt": (lambda: SoftVoicePrompt(150), (3e-3, 1e-2, 3e-2)),
    "lora": (lambda: Lora(rank=8, alpha=16, targets={"t3": LAYERS}), (3e-3, 1e-2)),
}
BASE_LR = 2e-3
TRAINED, FRESH = "trained on the base voices", "fresh"


@dataclass(frozen=True)
class Learned:
    """One way of learning the new voice, and its held-out clips' residual before and after."""

    model: str
    way: str
    lr: float
    seed: int
    base: float
    tuned: float
    num_parameters: int
    sec: float


@dataclass(frozen=True)
class VoiceClips:
    """base: of all base voices; train, heldout: of the new one."""

    base: list[EncodedUtterance]
    train: list[EncodedUtterance]
    heldout: list[EncodedUtterance]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--base-steps", type=positive, default=400, help="on the base voices")
    parser.add_argument("--steps", type=positive, default=80, help="on the new voice")
    parser.add_argument("--batch-size", type=positive, default=8)
    parser.add_argument("--clips", type=positive, default=64, help="training clips of the new voice, at most")
    given = vars(parser.parse_args())
    output = given.pop("output")
    torch.set_num_threads(1)
    started = time.perf_counter()
    report = study(**given)
    report["sec"] = round(time.perf_counter() - started)
    write_text(output, json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["means"], indent=1))


def study(seeds: int, base_steps: int, steps: int, batch_size: int, clips: int) -> dict[str, Any]:
    """All that is measured, as JSON holds it."""
    settings = dict(locals())
    runs: list[Learned] = []
    heard: list[dict[str, float]] = []
    for seed in range(seeds):
        with TemporaryDirectory() as folder:
            adapter, found = new_adapter(seed), encode(new_adapter(seed), Path(folder), clips)
            fresh = state_of(adapter)
            Full().apply(adapter, BASE_LR)
            train(adapter, found.base, base_steps, batch_size, BASE_LR, seed)
            trained = state_of(adapter)
            heard.append(by_prompt(adapter, found))
            runs += [
                learn(trained, TRAINED, way, lr, found, seed, steps, batch_size)
                for way, (_, rates) in WAYS.items()
                for lr in rates
            ]
            runs += [learn(fresh, FRESH, way, best_rate(runs, way), found, seed, steps, batch_size) for way in WAYS]
    return {
        "settings": settings,
        "torch": torch.__version__,
        "residual_by_prompt": {name: mean(each[name] for each in heard) for name in heard[0]},
        "means": means(runs),
        "runs": [asdict(each) for each in runs],
    }


def new_adapter(seed: int) -> ChatterboxAdapter:
    """The tiny model with weights of the seed; nothing is dropped, so that all draws are those of the clips."""
    return ChatterboxAdapter("tiny", T3CrossEntropy(0.0, 0.0, 0.0, double_start=True), seed=seed)


def state_of(adapter: ChatterboxAdapter) -> dict[str, torch.Tensor]:
    """Copies of T3's weights."""
    return {name: tensor.clone() for name, tensor in adapter.t3.state_dict().items()}


def encode(adapter: ChatterboxAdapter, folder: Path, num_train: int) -> VoiceClips:
    """The embedded voices' features."""

    def of(utterances: Sequence[Any]) -> list[EncodedUtterance]:
        return encode_recordings(utterances, adapter, folder, 0.2, 30.0, progress=False).encoded

    base = [each for voice in read_voice_folders(ASSETS / "base_voices", "base voices").values() for each in voice]
    demo = ASSETS / "demo_voice"
    train_clips = read_recordings(demo / "train").utterances[:num_train]
    return VoiceClips(of(base), of(train_clips), of(read_recordings(demo / "heldout").utterances))


def train(
    adapter: ChatterboxAdapter,
    clips: Sequence[EncodedUtterance],
    num_steps: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> None:
    """AdamW without decay, its rate falling to zero in a line; clips and prompts are drawn from the seed."""
    optimizer = torch.optim.AdamW([p for p in adapter.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, num_steps)
    pool = PromptPool(clips)
    for step in range(num_steps):
        rng = make_rng(seed, "voice study", step)
        chosen = [clips[place] for place in torch.randperm(len(clips), generator=rng)[:batch_size].tolist()]
        rows = [Example(clip, pool.choose(clip, rng), 0, place) for place, clip in enumerate(chosen)]
        optimizer.zero_grad()
        adapter.loss(adapter.collate(rows), rng).total.backward()
        torch.nn.utils.clip_grad_norm_([p for p in adapter.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        schedule.step()


def residual(
    adapter: ChatterboxAdapter, clips: Sequence[EncodedUtterance], prompts: Sequence[EncodedUtterance]
) -> float:
    """Mean over the clips' tokens; clip i is prompted by prompt i."""
    total = tokens = 0.0
    for clip, prompt in zip(clips, prompts, strict=False):
        values = adapter.residuals(adapter.collate([Example(clip, prompt, 0)]), seed=0).values["residual"]
        total += float(values[0]) * clip.num_frames
        tokens += clip.num_frames
    return total / tokens


def by_prompt(adapter: ChatterboxAdapter, clips: VoiceClips) -> dict[str, float]:
    """The new voice's residual where it prompts itself, and where each of the base voices does in turn."""
    others = clips.base[:: max(1, len(clips.base) // len(clips.heldout))]
    return {
        "own": residual(adapter, clips.heldout, clips.train),
        "other voices": residual(adapter, clips.heldout, others),
    }


def learn(
    state: Mapping[str, torch.Tensor],
    model: str,
    way: str,
    lr: float,
    clips: VoiceClips,
    seed: int,
    num_steps: int,
    batch_size: int,
) -> Learned:
    """The new voice learned from the same weights, with the same clips and prompts as by every other way."""
    adapter, strategy = new_adapter(seed), WAYS[way][0]()
    adapter.t3.load_state_dict(state)
    base = residual(adapter, clips.heldout, clips.train)
    plans = strategy.apply(adapter, lr)
    strategy.begin_with(adapter, (clip.features() for clip in clips.train))
    started = time.perf_counter()
    train(adapter, clips.train, num_steps, batch_size, lr, seed)
    sec = round(time.perf_counter() - started, 1)
    tuned = residual(adapter.eval(), clips.heldout, clips.train)
    print(f"{model}, {way}, {lr:g}, seed {seed}: {base:.4f} -> {tuned:.4f} ({sec} s)", flush=True)
    return Learned(model, way, lr, seed, base, tuned, sum(plan.num_trained for plan in plans), sec)


def best_rate(runs: Sequence[Learned], way: str) -> float:
    """The rate of a way by which the model that knows the base voices gained most."""
    gains: dict[float, list[float]] = {}
    for each in runs:
        if (each.model, each.way) == (TRAINED, way):
            gains.setdefault(each.lr, []).append(each.base - each.tuned)
    return max(gains, key=lambda lr: mean(gains[lr]))


def means(runs: Sequence[Learned]) -> list[dict[str, Any]]:
    """For each model, way and rate: the residuals' means over seeds, and of how much lower the second is."""
    groups: dict[tuple[str, str, float], list[Learned]] = {}
    for each in runs:
        groups.setdefault((each.model, each.way, each.lr), []).append(each)
    rows = []
    for (model, way, lr), found in groups.items():
        gains = [each.base - each.tuned for each in found]
        rows.append(
            {
                "model": model,
                "way": way,
                "lr": lr,
                "seeds": len(found),
                "num_parameters": found[0].num_parameters,
                "base": round(mean(each.base for each in found), 4),
                "tuned": round(mean(each.tuned for each in found), 4),
                "gain": round(mean(gains), 4),
                "gain_std": round(stdev(gains), 4) if len(gains) > 1 else None,
            }
        )
    return rows


if __name__ == "__main__":
    run_script(main)
