"""Sampling against upstream's decoders on upstream's head."""

from functools import partial

import pytest
import torch
from pocket_tts.models.flow_lm import lsd_decode, ot_decode

from calm_ft.flow.sampling import guide, sample_euler, sample_flow_map
from tests.flow.tiny_head import rows, tiny_head


@pytest.mark.parametrize("num_steps", [1, 3, 16])
def test_flow_map_sampling_equals_upstreams_lsd_decode(num_steps: int) -> None:
    head, (cond, x0, _) = tiny_head(dtype=torch.float32), rows(5, dtype=torch.float32)
    velocity_fn = partial(head, cond)
    assert torch.equal(sample_flow_map(velocity_fn, x0, num_steps), lsd_decode(velocity_fn, x0, num_steps))


@pytest.mark.parametrize("num_steps", [1, 3, 16])
def test_euler_sampling_equals_upstreams_ot_decode(num_steps: int) -> None:
    head, (cond, x0, _) = tiny_head(1, dtype=torch.float32), rows(5, dtype=torch.float32)
    velocity_fn = partial(head, cond)
    assert torch.equal(sample_euler(velocity_fn, x0, num_steps), ot_decode(velocity_fn, x0, num_steps))


def test_guidance_goes_from_unconditional_through_conditional_and_beyond() -> None:
    z_cond, z_null = torch.randn(2, 4, 6)
    torch.testing.assert_close(guide(z_cond, z_null, 0.0), z_null)
    torch.testing.assert_close(guide(z_cond, z_null, 1.0), z_cond)
    torch.testing.assert_close(guide(z_cond, z_null, 2.0), 2 * z_cond - z_null)
