"""T3's rows against upstream: what stands in them is what stock generation feeds, and padding reaches nothing."""

from dataclasses import fields, replace

import pytest
import torch
from chatterbox.models.t3 import T3
from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
from chatterbox.models.t3.modules.cond_enc import T3Cond
from chatterbox.tts import Conditionals
from torch import Tensor

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch
from calm_ft.adapters.chatterbox.synthesis import SamplingSettings, generate_tokens
from calm_ft.adapters.chatterbox.t3_objective import T3Outputs, speech_targets, t3_outputs
from calm_ft.adapters.chatterbox.tiny import LLAMA_NAME, tiny_t3_config
from calm_ft.data.dataset import Example

YES, NO = torch.tensor([True]), torch.tensor([False])


def condition(batch: ChatterboxBatch, row: int = 0) -> T3Cond:
    num_prompt = int(batch.num_prompt[row])
    prompt = batch.prompt_tokens[row : row + 1, :num_prompt] if num_prompt else None
    return T3Cond(batch.speaker_embedding[row : row + 1], None, prompt, None, batch.emotion[row].view(1, 1, 1))


def upstream_forward(t3: T3, batch: ChatterboxBatch, num_pads: int = 0) -> tuple[Tensor, Tensor]:
    """(text logits, speech logits) of `T3.forward` on the first row, whose text may be padded as in a larger batch."""
    num_text, num_speech = int(batch.num_text[0]), int(batch.num_frames[0])
    start = torch.full((1, 1), t3.hp.start_speech_token)
    text = torch.nn.functional.pad(batch.text_tokens[:1, :num_text], (0, num_pads))
    output = t3.forward(
        t3_cond=condition(batch),
        text_tokens=text,
        text_token_lens=torch.tensor([num_text]),
        speech_tokens=torch.cat([start, batch.speech_tokens[:1, :num_speech]], dim=1),
        speech_token_lens=torch.tensor([num_speech + 1]),
    )
    return output.text_logits[0, :num_text], output.speech_logits[0]


def logits(t3: T3, outputs: T3Outputs, batch: ChatterboxBatch, row: int) -> tuple[Tensor, Tensor]:
    num_text, num_speech = int(batch.num_text[row]), int(batch.num_frames[row])
    return t3.text_head(outputs.text[row, : num_text - 1]), t3.speech_head(outputs.speech[row, : num_speech + 1])


def generated_row(row: ChatterboxBatch, voice: Conditionals, text: Tensor, tokens: Tensor) -> ChatterboxBatch:
    """A row in which a voice said a text's tokens [S] with speech tokens [N], the rest as in another one."""
    prompt = voice.t3.cond_prompt_speech_tokens
    return replace(
        row,
        speech_tokens=tokens[None],
        num_frames=torch.tensor([len(tokens)]),
        text_tokens=text[None],
        num_text=torch.tensor([len(text)]),
        speaker_embedding=voice.t3.speaker_emb,
        prompt_tokens=prompt,
        num_prompt=torch.tensor([prompt.shape[1]]),
    )


@torch.no_grad()
def test_a_packed_row_has_the_logits_of_upstreams_forward_on_that_row_alone(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(examples)
    everything = torch.ones(3, dtype=torch.bool)
    outputs = t3_outputs(adapter.t3, batch, False, everything, everything)
    for row, example in enumerate(examples):
        text, speech = upstream_forward(adapter.t3, adapter.collate([example]))
        ours = logits(adapter.t3, outputs, batch, row)
        torch.testing.assert_close(ours[0], text[:-1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours[1], speech, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_upstreams_own_layout_lets_three_pads_of_the_text_reach_the_speech(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(examples[1:2])
    alone, padded = (upstream_forward(adapter.t3, batch, num_pads)[1] for num_pads in (0, 3))
    assert (alone - padded).abs().max() > 1e-3  # a hundred times what rounding does


@torch.no_grad()
@pytest.mark.parametrize("guided", [True, False])
def test_teacher_forced_logits_are_those_of_stock_generation_in_both_branches_of_guidance(
    adapter: ChatterboxAdapter, examples: list[Example], voice_file, guided: bool
) -> None:
    voice, recorded = adapter.load_voice(voice_file), []
    hook = adapter.t3.speech_head.register_forward_hook(lambda *each: recorded.append(each[2][:, -1]))
    text = adapter.text.tokens("A few words.")
    settings = SamplingSettings(temperature=0.8, cfg_weight=0.5, max_speech_tokens=12)
    torch.manual_seed(0)
    tokens = generate_tokens(adapter.models, voice, text, settings)
    hook.remove()
    row = generated_row(adapter.collate(examples[:1]), voice, text, tokens)
    outputs = t3_outputs(adapter.t3, row, True, YES if guided else NO, YES)
    stock = torch.stack([step[0 if guided else 1] for step in recorded])
    assert len(stock) >= 12
    torch.testing.assert_close(adapter.t3.speech_head(outputs.speech[0, : len(stock)]), stock, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_prompts_of_other_lengths_do_not_reach_a_row_through_the_perceiver(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    config = tiny_t3_config()
    LLAMA_CONFIGS["wide"] = dict(
        LLAMA_CONFIGS[LLAMA_NAME], hidden_size=1024, intermediate_size=64, num_hidden_layers=1, head_dim=256
    )
    config.llama_config_name, config.use_perceiver_resampler = "wide", True
    t3 = T3(config).eval()
    batch = adapter.collate(examples[:2])
    assert batch.num_prompt[0] != batch.num_prompt[1]
    both = torch.ones(2, dtype=torch.bool)
    together = t3_outputs(t3, batch, True, both, both)
    for row, example in enumerate(examples[:2]):
        alone = t3_outputs(t3, adapter.collate([example]), True, YES, YES)
        places = int(batch.num_frames[row]) + 1
        torch.testing.assert_close(together.speech[row, :places], alone.speech[0, :places], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_its_text_a_row_is_the_same_whatever_the_text_says(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(examples[:1])
    other = replace(batch, text_tokens=batch.text_tokens.flip(1))
    with_text, without = ([t3_outputs(adapter.t3, b, True, keep, YES) for b in (batch, other)] for keep in (YES, NO))
    assert not torch.equal(with_text[0].speech, with_text[1].speech)
    assert torch.equal(without[0].speech, without[1].speech)


@torch.no_grad()
def test_without_its_conditions_a_row_is_the_same_whoever_speaks(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(examples[:1])
    other = replace(batch, speaker_embedding=batch.speaker_embedding.flip(1), emotion=batch.emotion + 1)
    kept, dropped = ([t3_outputs(adapter.t3, b, True, YES, keep) for b in (batch, other)] for keep in (YES, NO))
    assert not torch.equal(kept[0].speech, kept[1].speech)
    assert torch.equal(dropped[0].speech, dropped[1].speech)


def test_dropped_conditions_do_not_blow_up_gradients_in_a_deep_backbone(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    config = tiny_t3_config()
    LLAMA_CONFIGS["deep"] = dict(LLAMA_CONFIGS[LLAMA_NAME], num_hidden_layers=20)
    config.llama_config_name = "deep"
    t3, batch = T3(config), adapter.collate(examples[:1])
    norms = []
    for keep in (YES, NO):
        t3.zero_grad()
        t3_outputs(t3, batch, True, NO, keep).speech.square().mean().backward()
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in t3.parameters() if p.grad is not None]))
    assert norms[1] < 10 * norms[0]


def test_every_speech_token_and_the_stop_token_are_targets(adapter: ChatterboxAdapter, examples: list[Example]) -> None:
    batch = adapter.collate(examples)
    targets, mask = speech_targets(adapter.t3, batch)
    assert mask.sum(dim=1).tolist() == (batch.num_frames + 1).tolist()
    for row, num in enumerate(batch.num_frames.tolist()):
        assert targets[row, :num].tolist() == batch.speech_tokens[row, :num].tolist()
        assert targets[row, num] == adapter.t3.hp.stop_speech_token


def test_a_prompt_is_of_the_other_clip_and_missing_where_there_is_none(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(examples)
    for row, example in enumerate(examples):
        voice = (example.prompt or example.target).features()
        assert torch.equal(batch.speaker_embedding[row], voice["speaker_embedding"])
        assert torch.equal(batch.x_vector[row], voice["x_vector"])
        assert int(batch.num_prompt[row]) == (0 if example.prompt is None else len(voice["prompt_tokens"]))
    assert batch.prompt_ids == ["clip1", "clip2"]


def test_a_batch_is_flat_so_that_a_failing_one_can_be_kept(adapter: ChatterboxAdapter, examples: list[Example]) -> None:
    kinds = {type(getattr(adapter.collate(examples), field.name)) for field in fields(ChatterboxBatch)}
    assert kinds == {Tensor, list, type(None)}
