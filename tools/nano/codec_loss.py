"""Multi-resolution spectral losses of the codec: log-mel L1 + log-spectrum L1 + spectral convergence.

The first two act on logarithms (what is heard, and what the mel-cepstral distortion measures), the third on
magnitudes, where the loud partials dominate. Source of the multi-resolution form: Yamamoto et al.,
"Parallel WaveGAN" (2020), eq. 3-6.
"""

from functools import cache

import torch
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from tools.nano.espeak import SAMPLE_RATE_HZ

WINDOWS_SAMPLES = (256, 512, 1024, 2048)
NUM_MEL_BANDS = {256: 24, 512: 40, 1024: 64, 2048: 80}
# A full-scale sine has magnitude 1: the floor lies at -80 dB, below espeak's quantisation noise.
_FLOOR = 1e-4


def spectral_loss(synthesized: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Scalar loss between two batches of audio `[B, S]`, the mean over the four resolutions."""
    losses = [_loss_at(window, synthesized, reference) for window in WINDOWS_SAMPLES]
    return torch.stack(losses).mean()


def _loss_at(window_samples: int, synthesized: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    ours, target = _magnitudes(synthesized, window_samples), _magnitudes(reference, window_samples)
    bands = _mel_bands(window_samples)
    log_mel = F.l1_loss(_log(bands @ ours), _log(bands @ target))
    log_spectrum = F.l1_loss(_log(ours), _log(target))
    convergence = torch.linalg.vector_norm(target - ours) / torch.linalg.vector_norm(target).clamp_min(_FLOOR)
    return log_mel + log_spectrum + convergence


def _log(magnitudes: torch.Tensor) -> torch.Tensor:
    return (magnitudes + _FLOOR).log()


def _magnitudes(audio: torch.Tensor, window_samples: int) -> torch.Tensor:
    window = torch.hann_window(window_samples)
    spectrum = torch.stft(audio, window_samples, hop_length=window_samples // 4, window=window, return_complex=True)
    # The root's gradient is infinite at zero, which digital silence reaches.
    power = torch.view_as_real(spectrum).square().sum(-1)
    return (power + 1e-10).sqrt() / (window_samples / 4)


@cache
def _mel_bands(window_samples: int) -> torch.Tensor:
    num_bins = window_samples // 2 + 1
    bands = melscale_fbanks(num_bins, 0.0, SAMPLE_RATE_HZ / 2, NUM_MEL_BANDS[window_samples], SAMPLE_RATE_HZ)
    return bands.T.contiguous()
