"""Rows and losses on the embedded model: what training computes is what stock generation computes."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from pocket_tts.modules.stateful_module import init_states

from calm_ft.adapters.pocket_tts import rows
from calm_ft.adapters.pocket_tts.rows import Row, collate_rows, drop_conditioning
from calm_ft.randomness import make_rng


def random_row(adapter, name: str, num_frames: int, num_prompt_frames: int, text: str, place: int = 0) -> Row:
    rng = make_rng(0, name)
    latents = torch.randn(num_frames, adapter.flow_lm.ldim, generator=rng)
    prompt = torch.randn(num_prompt_frames, adapter.flow_lm.ldim, generator=rng)
    return Row(name, latents, adapter.text.tokens(text), prompt, place)


@pytest.fixture
def three_rows(nano_adapter):
    return [
        random_row(nano_adapter, "long", 21, 9, "A sentence of some length, with a comma.", 0),
        random_row(nano_adapter, "short", 7, 0, "Yes.", 1),
        random_row(nano_adapter, "middle", 12, 14, "Three words here.", 2),
    ]


def collate(adapter, chosen):
    return collate_rows(chosen, adapter.tts.config.flow_lm.lookup_table.n_bins)


def test_teacher_forced_outputs_equal_the_streaming_models_step_by_step(nano_adapter, three_rows):
    lm = nano_adapter.flow_lm
    batch = collate(nano_adapter, three_rows)
    with torch.no_grad():
        z = nano_adapter.hidden(batch).z
        for index, row in enumerate(three_rows):
            tts, state = nano_adapter.tts, init_states(lm, batch_size=1, sequence_length=200)
            voice = torch.nn.functional.linear(row.prompt_latents[None], lm.speaker_proj_weight)
            prefix = torch.cat([lm.bos_before_voice, voice], dim=1)
            outputs: list[torch.Tensor] = []
            hook = lm.out_norm.register_forward_hook(lambda _m, _i, out, kept=outputs: kept.append(out[:, -1]))
            tts._run_flow_lm_and_increment_step(model_state=state, audio_conditioning=prefix)
            tts._run_flow_lm_and_increment_step(model_state=state, text_tokens=torch.tensor([row.tokens]))
            outputs.clear()
            normalized = (row.latents - lm.emb_mean) / lm.emb_std
            for latent in [torch.full((1, 1, lm.ldim), torch.nan), *normalized[:, None, None]]:
                tts._run_flow_lm_and_increment_step(model_state=state, backbone_input_latents=latent.view(1, 1, -1))
            hook.remove()
            streamed = torch.cat(outputs)
            assert (z[index, : len(streamed)] - streamed).abs().max() < 5e-5 * streamed.abs().max()


@pytest.mark.parametrize("lengths", [(5, 5, 5), (3, 8, 8), (1,)])
def test_every_row_has_exactly_one_eos_target_one_frame_past_its_end(nano_adapter, lengths):
    chosen = [random_row(nano_adapter, str(i), n, 2, "Hi.") for i, n in enumerate(lengths)]
    batch = collate(nano_adapter, chosen)
    assert batch.eos_target.sum(dim=1).tolist() == [1] * len(lengths)
    assert batch.eos_target.int().argmax(dim=1).tolist() == list(lengths)
    assert (batch.eos_target & ~batch.eos_mask).sum() == 0
    assert batch.frame_mask.sum(dim=1).tolist() == list(lengths)


def test_what_lies_in_padding_never_reaches_the_loss(nano_adapter, three_rows):
    batch = collate(nano_adapter, three_rows)
    dirty = replace(
        batch,
        latents=torch.where(batch.frame_mask[..., None], batch.latents, torch.full_like(batch.latents, 1e3)),
        prompt_latents=torch.where(batch.prompt_mask[..., None], batch.prompt_latents, 1e3),
        text_tokens=torch.where(batch.text_mask, batch.text_tokens, 7),
    )
    clean = nano_adapter.loss(batch, make_rng(0, "loss")).total
    assert nano_adapter.loss(dirty, make_rng(0, "loss")).total.item() == pytest.approx(clean.item(), rel=1e-6)


def test_training_loss_is_the_mean_over_valid_frames_of_the_objective_and_eos(nano_adapter, three_rows):
    """A second implementation: row by row, unpadded, one row of the head at a time joined by hand."""
    batch = collate(nano_adapter, three_rows)
    output = nano_adapter.loss(batch, make_rng(5, "loss"))
    seed = int(torch.randint(2**62, (), generator=make_rng(5, "loss")))
    lm, multiplier = nano_adapter.flow_lm, nano_adapter.num_times
    flow, lsd, eos = [], [], []
    for place, row in enumerate(three_rows):
        z = nano_adapter.hidden(collate(nano_adapter, [row])).z[0]
        cond = z[: len(row.latents)].repeat(multiplier, 1)
        x1 = ((row.latents - lm.emb_mean) / lm.emb_std).repeat(multiplier, 1)
        single = nano_adapter.objective(lm.flow_net, cond, x1, make_rng(seed, "objective", place)).terms
        flow.append((single["flow"].loss_sum, 2 * len(x1)))
        lsd.append((single["lsd"].loss_sum, 2 * round(len(x1) / 4)))
        probability = torch.sigmoid(lm.out_eos(z)[:, 0])
        eos += [-torch.log(1 - probability[:-1]), -torch.log(probability[-1:])]
    means = [sum(total for total, _ in term) / sum(count for _, count in term) for term in (flow, lsd)]
    expected = 0.75 * means[0] + 0.25 * means[1] + nano_adapter.eos_loss_weight * torch.cat(eos).mean()
    torch.testing.assert_close(output.total, expected, rtol=1e-4, atol=1e-5)


def test_backbone_outputs_are_those_of_upstreams_whole_transformer(nano_adapter, three_rows):
    """From whichever layer they start; feed-forward runs where it is heard."""
    lm, batch = nano_adapter.flow_lm, collate(nano_adapter, three_rows)
    entering, starts = rows.assembled(lm, batch, rows.normalized(lm, batch))
    spans = batch.spans(lm.insert_bos_before_voice)
    for layer in (0, 5, 6):
        whole = entering
        for each in lm.transformer.layers[layer:]:
            whole = each(whole, None)
        found = rows.backbone_outputs(lm, entering, starts, batch.latents.shape[1], spans, first_layer=layer)
        for z, row, start, length in zip(found, lm.out_norm(whole), starts, batch.lengths, strict=True):
            torch.testing.assert_close(z[: length + 1], row[start : start + length + 1], rtol=1e-5, atol=1e-5)


def test_two_processes_shares_add_up_to_the_loss_of_the_whole_batch(nano_adapter, three_rows):
    nano_adapter.conditioning_dropout, nano_adapter.input_noise_std = 0.4, 0.5
    rng = partial(make_rng, 3, "loss")
    whole = nano_adapter.loss(collate(nano_adapter, three_rows), rng())
    shares = [nano_adapter.loss(collate(nano_adapter, three_rows[rank::2]), rng()) for rank in range(2)]
    counts = {name: term.count for name, term in whole.terms.items()}
    assert counts == {name: sum(share.terms[name].count for share in shares) for name in counts}
    joined = sum(share.total_over(counts) for share in shares)
    torch.testing.assert_close(joined, whole.total, rtol=1e-5, atol=1e-6)


def test_dropped_conditioning_is_the_row_without_these_segments(nano_adapter, three_rows):
    batch = collate(nano_adapter, three_rows)
    dropped = drop_conditioning(batch, 1.0, 0)
    lm = nano_adapter.flow_lm
    normalized = (batch.latents - lm.emb_mean) / lm.emb_std
    assembled, prefixes = rows.assemble_rows(
        lm, normalized, dropped.text_tokens, dropped.text_mask, dropped.prompt_latents, dropped.prompt_mask
    )
    assert prefixes.tolist() == [1, 1, 1]
    torch.testing.assert_close(assembled[:, 0], lm.bos_before_voice[0].expand(3, -1))
    kept = drop_conditioning(batch, 0.5, 1)
    again = drop_conditioning(batch, 0.5, 1)
    assert torch.equal(kept.text_mask, again.text_mask)
    assert torch.equal(kept.prompt_mask, again.prompt_mask)


def test_a_frozen_trunk_runs_without_gradients_and_a_trained_one_with(nano_adapter, three_rows):
    batch = collate(nano_adapter, three_rows)
    nano_adapter.requires_grad_(False)
    nano_adapter.flow_lm.flow_net.requires_grad_(True)
    assert not nano_adapter.hidden(batch).z.requires_grad
    nano_adapter.flow_lm.transformer.layers[-1].requires_grad_(True)
    assert nano_adapter.hidden(batch).z.requires_grad


def test_noise_on_inputs_is_heard_and_not_predicted(nano_adapter, three_rows):
    batch = collate(nano_adapter, three_rows)
    noise = rows.noise_on_inputs(batch, 0.5, 7)
    clean, noisy = nano_adapter.hidden(batch), nano_adapter.hidden(batch, noise)
    assert torch.equal(clean.x1, noisy.x1)
    assert torch.equal(clean.z[:, 0], noisy.z[:, 0])  # what predicts the first frame has heard none yet
    assert not torch.isclose(clean.z[:, 1], noisy.z[:, 1]).all(dim=-1).any()


def test_noise_on_inputs_is_uniform_in_its_standard_deviation(nano_adapter, three_rows):
    batch = collate(nano_adapter, three_rows)
    stds = [
        row[:length].std()
        for seed in range(200)
        for row, length in zip(rows.noise_on_inputs(batch, 0.6, seed), batch.num_frames.tolist(), strict=True)
    ]
    assert torch.stack(stds).mean() == pytest.approx(0.3, abs=0.03)
    assert 0.5 < max(stds) < 0.7
