"""What training teaches is what stock generation does: a model that learned clips by heart says them again."""

import pytest
import torch

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch
from calm_ft.adapters.chatterbox.synthesis import SamplingSettings, generate_tokens
from calm_ft.data.dataset import Example
from calm_ft.finetuning.strategy import Full
from calm_ft.randomness import make_rng
from tests.adapters.chatterbox.conftest import make_adapter


def learn(adapter: ChatterboxAdapter, batch: ChatterboxBatch, num_steps: int, lr: float) -> None:
    Full().apply(adapter, lr)
    optimizer = torch.optim.AdamW([p for p in adapter.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, num_steps)
    for step in range(num_steps):
        optimizer.zero_grad()
        adapter.loss(batch, make_rng(step, "train")).total.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    adapter.eval()


@pytest.mark.slow
def test_t3_says_the_tokens_of_its_clips_and_stops_where_they_end(examples: list[Example]) -> None:
    adapter = make_adapter()
    batch = adapter.collate([Example(e.target, e.prompt, e.seed, place) for place, e in enumerate(examples)])
    learn(adapter, batch, num_steps=400, lr=3e-3)
    voice = adapter.load_voice(examples[1].target.utterance.audio_path)
    settings = SamplingSettings(0.05, cfg_weight=0.5, max_speech_tokens=250, repetition_penalty=1.0)
    for row, example in enumerate(examples[:2]):
        assert example.prompt is not None
        prompt = example.prompt.features()
        voice.t3.speaker_emb = prompt["speaker_embedding"][None]
        voice.t3.cond_prompt_speech_tokens = prompt["prompt_tokens"][None]
        torch.manual_seed(0)
        said = generate_tokens(adapter.models, voice, adapter.text.tokens(example.target.utterance.text), settings)
        wanted = batch.speech_tokens[row, : batch.num_frames[row]].tolist()
        assert said.tolist() == [*wanted, adapter.t3.hp.stop_speech_token]


@torch.no_grad()
def mel_errors(adapter: ChatterboxAdapter, batch: ChatterboxBatch) -> list[float]:
    """For each row the squared error of the mel that upstream's inference makes of its tokens, over its variance."""
    errors = []
    for row, num in enumerate(batch.num_frames.tolist()):
        mel = batch.mel[row, : 2 * num]
        torch.manual_seed(0)
        made, _ = adapter.s3gen.flow.inference(
            token=batch.speech_tokens[row : row + 1, :num],
            token_len=torch.tensor([num]),
            prompt_token=batch.speech_tokens[row : row + 1, :0],
            prompt_token_len=torch.tensor([0]),
            prompt_feat=torch.zeros(1, 0, 80),
            prompt_feat_len=None,
            embedding=batch.x_vector[row : row + 1],
            finalize=True,
        )
        errors.append(float((made[0].T - mel).square().mean() / mel.var()))
    return errors


@pytest.mark.slow
def test_s3gen_makes_the_mel_of_its_clips_from_their_tokens(examples: list[Example]) -> None:
    adapter = make_adapter("chatterbox_s3gen")
    batch = adapter.collate(examples)
    assert min(mel_errors(adapter, batch)) > 2
    learn(adapter, batch, num_steps=600, lr=3e-3)
    assert max(mel_errors(adapter, batch)) < 0.5
