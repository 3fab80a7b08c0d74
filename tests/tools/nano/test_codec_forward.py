"""The stateless codec forward is upstream's streaming one."""

import torch
from pocket_tts.models.mimi import MimiModel, build_mimi
from pocket_tts.modules.stateful_module import StatefulModule, init_states
from pocket_tts.utils.config import Config

from tools.nano.codec_forward import decode, encode
from tools.nano.shape import bundle_config


def _named(codec: MimiModel) -> MimiModel:
    for name, module in codec.named_modules():
        if isinstance(module, StatefulModule):
            module._module_absolute_name = name
    return codec.eval()


def _tiny_codec() -> MimiModel:
    config = bundle_config()
    for side in ("seanet", "decoder_seanet"):
        # Residual layers and three strides, which the shipped shape lacks.
        config["mimi"][side] |= {
            "n_filters": 2,
            "n_residual_layers": 1,
            "ratios": [2, 4, 5],
            "dimension": 128,
        }
    config["mimi"]["sample_rate"] = 8000
    return build_mimi(Config(**config).mimi)


def _assert_equal_to_streaming(codec: MimiModel, frames_per_chunk: int) -> None:
    latents = torch.randn(2, 6, 32)
    state = init_states(codec, batch_size=2, sequence_length=6 * 16)
    with torch.no_grad():
        chunks = latents.split(frames_per_chunk, dim=1)
        streamed = torch.cat([codec.decode_from_latent(chunk, state) for chunk in chunks], dim=-1)
        whole = decode(codec, latents)
    assert whole.shape == streamed.shape == (2, 1, 6 * codec.frame_size)
    torch.testing.assert_close(whole, streamed, atol=1e-5, rtol=1e-5)


def _increasing(codec: MimiModel) -> MimiModel:
    """Upstream's decode leaves counting attention positions to its caller: count here, as generation does."""
    from pocket_tts.modules.stateful_module import increment_steps

    original = codec.decode_from_latent

    def decode_and_count(latent: torch.Tensor, state: dict) -> torch.Tensor:
        audio = original(latent, state)
        increment_steps(codec, state, increment=16 * latent.shape[1])
        return audio

    codec.decode_from_latent = decode_and_count
    return codec


def test_the_shipped_codec_decodes_as_upstream_does_in_one_chunk():
    torch.manual_seed(0)
    codec = _named(build_mimi(Config(**bundle_config()).mimi))
    _assert_equal_to_streaming(codec, frames_per_chunk=6)


def test_the_shipped_codec_decodes_as_upstream_does_frame_by_frame():
    torch.manual_seed(1)
    codec = _increasing(_named(build_mimi(Config(**bundle_config()).mimi)))
    _assert_equal_to_streaming(codec, frames_per_chunk=1)


def test_a_codec_with_residual_layers_decodes_as_upstream_does_in_chunks():
    torch.manual_seed(2)
    _assert_equal_to_streaming(_increasing(_named(_tiny_codec())), frames_per_chunk=2)


def test_gradients_reach_every_weight_of_encoder_and_decoder():
    torch.manual_seed(3)
    codec = build_mimi(Config(**bundle_config()).mimi)
    audio = torch.randn(1, 1, 4 * codec.frame_size)
    decode(codec, encode(codec, audio)).square().mean().backward()
    without = [name for name, parameter in codec.named_parameters() if parameter.grad is None]
    assert without == []
