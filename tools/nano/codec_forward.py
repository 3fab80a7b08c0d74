"""Mimi without streaming state: audio -> latents -> audio with gradients, as training needs it.

Upstream's `StreamingConvTranspose1d` adds the overlap of the previous chunk and keeps its own for the next.
On a whole clip that is: transpose-convolve, then drop the last `kernel - stride` samples. Everything else
already runs stateless.
"""

import torch
from pocket_tts.models.mimi import MimiModel
from pocket_tts.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from pocket_tts.modules.seanet import SEANetResnetBlock


def encode(codec: MimiModel, audio: torch.Tensor) -> torch.Tensor:
    """Audio `[B, 1, S]` -> latents `[B, T, C]`, `T` the frames that S fills, the last one padded."""
    return codec.encode_to_latent(audio)


def decode(codec: MimiModel, latents: torch.Tensor) -> torch.Tensor:
    """Latents `[B, T, C]` -> audio `[B, 1, T * frame_size]`."""
    hidden = codec.quantizer(latents.transpose(1, 2))
    hidden = _transposed_convolution(codec.upsample.convtr, hidden)
    (hidden,) = codec.decoder_transformer(hidden, None)
    for layer in codec.decoder.model:
        if isinstance(layer, StreamingConvTranspose1d):
            hidden = _transposed_convolution(layer, hidden)
        elif isinstance(layer, StreamingConv1d | SEANetResnetBlock):
            hidden = layer(hidden, None)
        else:
            hidden = layer(hidden)
    return hidden


def _transposed_convolution(layer: StreamingConvTranspose1d, hidden: torch.Tensor) -> torch.Tensor:
    overlap_samples = layer.convtr.kernel_size[0] - layer.convtr.stride[0]
    widened = layer.convtr(hidden)
    return widened[..., : widened.shape[-1] - overlap_samples]
