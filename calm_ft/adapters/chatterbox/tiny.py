"""Chatterbox with random weights: at a fiftieth of its size, for tests and rehearsals, or its files at full size.

The tiny model is made of upstream's own classes with few channels. It speaks noise; everything else is as in the real
one: files, layouts, rates, tokens. The files at full size are for measuring costs and loading.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from chatterbox.models.s3gen.const import S3GEN_SR
from chatterbox.models.s3gen.decoder import ConditionalDecoder
from chatterbox.models.s3gen.f0_predictor import ConvRNNF0Predictor
from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
from chatterbox.models.s3gen.flow_matching import CausalConditionalCFM
from chatterbox.models.s3gen.hifigan import HiFTGenerator
from chatterbox.models.s3gen.s3gen import S3Token2Wav
from chatterbox.models.s3gen.transformer.upsample_encoder import (
    PreLookaheadLayer,
    Upsample1D,
    UpsampleConformerEncoder,
)
from chatterbox.models.s3gen.utils.mel import mel_spectrogram
from chatterbox.models.s3gen.xvector import CAMPPlus
from chatterbox.models.s3tokenizer import S3Tokenizer
from chatterbox.models.t3 import T3
from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.models.voice_encoder import VoiceEncoder
from librosa.filters import mel as mel_filters
from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2
from torch import nn

from calm_ft.adapters.chatterbox.export import save_network
from calm_ft.adapters.chatterbox.files import ENGLISH, TINY_WIDTH, Release
from calm_ft.adapters.chatterbox.models import ChatterboxModels, full_size
from calm_ft.adapters.quiet import quiet_and_unchanged

T3_LAYERS = 3
S3GEN_WIDTH = 32
MEL_CHANNELS = 80
LLAMA_NAME = "calm_ft_tiny"
TOKENIZER_FILE = Path(__file__).parents[2] / "assets" / "chatterbox_tiny" / "tokenizer.json"
TOKENIZER_FILES = {TOKENIZER_FILE.name: TOKENIZER_FILE}
TOKEN_SPREAD = 12.0  # fresh quantisers give every frame the same token; so much larger, they tell frames apart


def tiny_t3_config() -> T3Config:
    """Without the perceiver, which upstream fixes at 1024 channels; prompt tokens enter one by one then."""
    llama = dict(LLAMA_CONFIGS["Llama_520M"], hidden_size=TINY_WIDTH, intermediate_size=2 * TINY_WIDTH)
    llama |= dict(num_hidden_layers=T3_LAYERS, num_attention_heads=4, num_key_value_heads=4, head_dim=TINY_WIDTH // 4)
    LLAMA_CONFIGS[LLAMA_NAME] = llama
    config = T3Config(text_tokens_dict_size=256)
    config.llama_config_name = LLAMA_NAME
    config.use_perceiver_resampler = False
    config.speech_tokens_dict_size = 6563
    config.max_text_tokens, config.max_speech_tokens = 256, 1024
    return config


def tiny_models(seed: int) -> ChatterboxModels:
    """Random weights as a function of the seed."""
    with torch.random.fork_rng(devices=[]), quiet_and_unchanged():
        torch.manual_seed(seed)
        tokenizer = EnTokenizer(str(TOKENIZER_FILE))
        networks = T3(tiny_t3_config()), TinyS3Gen(), VoiceEncoder()
        return ChatterboxModels(*networks, tokenizer, TOKENIZER_FILES, is_tiny=True)


class TinyTokenizer(S3Tokenizer):
    """Upstream's constructor takes no size; its parent's does."""

    def __init__(self) -> None:
        S3TokenizerV2.__init__(
            self, "speech_tokenizer_v2_25hz", ModelConfig(n_audio_state=64, n_audio_head=1, n_audio_layer=1)
        )
        self.n_fft = 400
        filters = mel_filters(sr=16_000, n_fft=self.n_fft, n_mels=128)
        self.register_buffer("_mel_filters", torch.from_numpy(filters.astype(np.float32)))
        self.register_buffer("window", torch.hann_window(self.n_fft))
        with torch.no_grad():
            self.quantizer._codebook.project_down.weight.mul_(TOKEN_SPREAD)


class TinyS3Gen(S3Token2Wav):
    """The same parts under the same names; upstream's constructor fixes their sizes."""

    def __init__(self, meanflow: bool = False) -> None:
        nn.Module.__init__(self)
        self.tokenizer = TinyTokenizer()
        self.mel_extractor = mel_spectrogram
        self.speaker_encoder = CAMPPlus(growth_rate=2, bn_size=2, init_channels=16, memory_efficient=False)
        self.meanflow = meanflow
        self.flow = CausalMaskedDiffWithXvec(
            input_size=S3GEN_WIDTH, encoder=_encoder(), decoder=CausalConditionalCFM(estimator=_estimator(meanflow))
        )
        self.resamplers: dict = {}
        self.mel2wav = HiFTGenerator(
            base_channels=32,
            sampling_rate=S3GEN_SR,
            upsample_rates=[8, 5, 3],
            upsample_kernel_sizes=[16, 11, 7],
            source_resblock_kernel_sizes=[7, 7, 11],
            source_resblock_dilation_sizes=[[1, 3, 5]] * 3,
            f0_predictor=ConvRNNF0Predictor(cond_channels=16),
        )
        self.register_buffer("trim_fade", torch.linspace(0, 1, S3GEN_SR // 25), persistent=False)
        self.estimator_dtype = "fp32"


def _encoder() -> UpsampleConformerEncoder:
    encoder = UpsampleConformerEncoder(
        input_size=S3GEN_WIDTH,
        output_size=S3GEN_WIDTH,
        attention_heads=2,
        linear_units=2 * S3GEN_WIDTH,
        num_blocks=1,
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        use_cnn_module=False,
        macaron_style=False,
    )
    # Upstream fixes these at 512 channels and four blocks.
    encoder.pre_lookahead_layer = PreLookaheadLayer(channels=S3GEN_WIDTH, pre_lookahead_len=3)
    encoder.up_layer = Upsample1D(channels=S3GEN_WIDTH, out_channels=S3GEN_WIDTH, stride=2)
    encoder.up_encoders = encoder.up_encoders[:1]
    return encoder


def _estimator(meanflow: bool) -> ConditionalDecoder:
    return ConditionalDecoder(
        meanflow=meanflow,
        in_channels=4 * MEL_CHANNELS,
        out_channels=MEL_CHANNELS,
        channels=[S3GEN_WIDTH],
        attention_head_dim=16,
        n_blocks=1,
        num_mid_blocks=2,
        num_heads=2,
    )


def write_random_files(folder: Path, seed: int = 0) -> Path:
    """The English model's files (3.2 GB) with random weights; returns the folder."""
    with torch.random.fork_rng(devices=[]), quiet_and_unchanged():
        torch.manual_seed(seed)
        models = full_size(TOKENIZER_FILES)
    return write_files(models, ENGLISH, folder)


@torch.no_grad()
def write_files(models: ChatterboxModels, release: Release, folder: Path) -> Path:
    """A model with random weights as the files of a release, its speech tokens spread; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    models.s3gen.tokenizer.quantizer._codebook.project_down.weight.mul_(TOKEN_SPREAD)
    for name, network in (
        (release.voice_encoder, models.voice_encoder),
        (release.t3, models.t3),
        (release.s3gen, models.s3gen),
    ):
        save_network(network, folder / name)
    for name, path in models.tokenizer_files.items():
        shutil.copyfile(path, folder / name)
    return folder
