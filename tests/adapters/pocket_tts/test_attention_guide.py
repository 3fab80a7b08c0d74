"""The guided attention: what it measures is what the layer does, and training by it moves the head to the word."""

import math
from dataclasses import replace

import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.attention_guide import (
    NO_WORD,
    guide_losses,
    guided_layer,
    projections_of,
    text_attention,
    tokens_said,
)
from calm_ft.adapters.pocket_tts.rows import Row, collate_rows, drop_conditioning
from calm_ft.data.utterance import WordTime
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng

WORDS = (WordTime("One", 0.0, 0.3), WordTime("of the", 0.3, 0.5), WordTime("dogs", 0.6, 1.0))
SENTENCE = "One of the dogs."


def row_of(adapter, text: str, words, num_frames: int, num_prompt_frames: int, place: int) -> Row:
    rng = make_rng(place, "guide")
    latents, prompt = (torch.randn(n, adapter.flow_lm.ldim, generator=rng) for n in (num_frames, num_prompt_frames))
    said = tokens_said(words, adapter.text.word_spans(text), num_frames, adapter.frame_rate_hz)
    return Row(str(place), latents, adapter.text.tokens(text), prompt, place, None, said)


@pytest.fixture
def batch(nano_adapter):
    rows = [row_of(nano_adapter, SENTENCE, WORDS, 13, 9, 0), row_of(nano_adapter, "Dogs.", WORDS[2:], 5, 0, 1)]
    return collate_rows(rows, nano_adapter.tts.config.flow_lm.lookup_table.n_bins)


def test_each_frame_has_the_tokens_of_the_word_in_its_middle(nano_adapter):
    spans = nano_adapter.text.word_spans(SENTENCE)
    tokens = nano_adapter.text.tokens(SENTENCE)
    assert len(spans) == 4
    assert spans[0][0] == 0
    assert spans[-1][1] == len(tokens)  # with the full stop
    said = tokens_said(WORDS, spans, num_frames=13, frame_rate_hz=12.5)
    # Middles at 0.04 s + 0.08 s k: "One" to 0.3 s, "of the" to 0.5 s, a pause around 0.52 s, "dogs" from 0.6 s to 1.0.
    expected = 4 * [spans[0]] + 2 * [(spans[1][0], spans[2][1])] + [(NO_WORD, NO_WORD)] + 5 * [spans[3]]
    assert said.tolist() == [list(each) for each in [*expected, (NO_WORD, NO_WORD)]]


def test_words_that_do_not_match_the_text_guide_nothing(nano_adapter):
    spans = nano_adapter.text.word_spans("Only three words.")
    assert (tokens_said(WORDS, spans, 13, 12.5) == NO_WORD).all()


def test_the_attention_is_the_layers_own(nano_adapter, batch, monkeypatch):
    """Against the weights inside torch's own attention, whose values are replaced by one-hot vectors."""
    nano_adapter.attention_guide_weight = 1.0
    lm = nano_adapter.flow_lm
    attention = guided_layer(lm.transformer)
    seen: list[torch.Tensor] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def spy(query, key, value, attn_mask=None, **settings):
        one_hot = torch.eye(key.shape[2]).expand(*key.shape[:2], -1, -1)
        seen.append(plain(query, key, one_hot, attn_mask, **settings))
        return plain(query, key, value, attn_mask, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    with torch.no_grad():
        hidden = nano_adapter.hidden(batch)
    weights = seen[[layer.self_attn for layer in lm.transformer.layers].index(attention)][:, 0]
    for index, (num_prompt, num_frames) in enumerate([(9, 13), (0, 5)]):
        num_tokens = int(batch.text_mask[index].sum())
        first = 1 + num_prompt
        expected = weights[index, first + num_tokens :][:num_frames, first : first + num_tokens]
        torch.testing.assert_close(hidden.log_attention[index, :num_frames, :num_tokens].exp(), expected)


def test_the_loss_is_the_logarithm_of_what_the_word_gets():
    attention = torch.tensor([[[0.1, 0.2, 0.3], [0.5, 0.25, 0.25]]])
    said = torch.tensor([[[1, 3], [NO_WORD, NO_WORD]]])
    assert guide_losses(attention.log(), said).tolist() == [pytest.approx(-math.log(0.5))]
    assert guide_losses(attention.log(), torch.full((1, 2, 2), NO_WORD)).numel() == 0


def test_training_by_it_moves_the_head_to_the_word(nano_adapter, batch):
    nano_adapter.attention_guide_weight = 1.0
    weight = guided_layer(nano_adapter.flow_lm.transformer).in_proj.weight.requires_grad_(True)
    before = float(nano_adapter.loss(batch, make_rng(0, "guide")).parts["attention_guide"])
    optimizer = torch.optim.SGD([weight], lr=0.05)
    for _ in range(10):
        output = nano_adapter.loss(batch, make_rng(0, "guide"))
        term = output.terms["attention_guide"]
        optimizer.zero_grad()
        (term.sum / term.count).backward()
        optimizer.step()
    assert float(output.parts["attention_guide"]) < 0.9 * before


def test_without_a_weight_nothing_is_measured_and_no_hook_stays(nano_adapter, batch):
    output = nano_adapter.loss(batch, make_rng(0, "guide"))
    assert "attention_guide" not in output.terms
    assert not guided_layer(nano_adapter.flow_lm.transformer).in_proj._forward_hooks


def test_a_row_whose_text_is_dropped_is_not_guided(batch):
    dropped = drop_conditioning(batch, 1.0, seed=0)
    assert (dropped.said == NO_WORD).all()
    assert torch.equal(drop_conditioning(batch, 0.0, seed=0).said, batch.said)


def test_a_batch_without_word_times_has_a_loss_all_the_same(nano_adapter, batch):
    nano_adapter.attention_guide_weight = 1.0
    output = nano_adapter.loss(replace(batch, said=torch.full_like(batch.said, NO_WORD)), make_rng(0, "guide"))
    assert output.terms["attention_guide"].count == 0
    assert math.isfinite(float(output.total.detach()))


def test_a_negative_weight_is_refused(nano_adapter):
    with pytest.raises(UserError, match=r"adapter\.attention_guide_weight must not be negative, but is -1"):
        PocketTTSAdapter(nano_adapter.model, nano_adapter.objective, attention_guide_weight=-1)


def test_projections_are_collected_while_the_context_lasts(nano_adapter):
    attention = guided_layer(nano_adapter.flow_lm.transformer)
    hidden = torch.zeros(1, 2, attention.embed_dim)
    with projections_of(attention) as seen:
        attention.in_proj(hidden)
    attention.in_proj(hidden)
    (only,) = seen
    assert text_attention(attention, only, torch.zeros(1, dtype=torch.long), 1, torch.ones(1, dtype=torch.long), 1)
