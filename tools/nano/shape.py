"""The miniature's shape: a stock pocket-tts config whose Mimi runs at 16 kHz with 12.5 frames of 32 values
a second.

SEANet strides 4 x 20, then a downsampling by 16; the decoder is wider than the encoder, as listening costs
less than speaking. About 1.0M parameters of codec and 3.2M of FlowLM with an LSD head.
"""

from typing import Any

import yaml
from pocket_tts.models.mimi import MimiModel, build_mimi
from pocket_tts.utils.config import Config

WEIGHTS_NAME = "model.safetensors"
TOKENIZER_NAME = "tokenizer.model"
NUM_TEXT_PIECES = 256

_SEANET = """
    dimension: 128
    channels: 1
    n_filters: {num_filters}
    n_residual_layers: 0
    ratios: [4, 20]
    kernel_size: 7
    residual_kernel_size: 3
    last_kernel_size: 3
    dilation_base: 2
    pad_mode: constant
    compress: 2
"""

_CODEC_TRANSFORMER = """
    d_model: 128
    input_dimension: 128
    output_dimensions: [128]
    num_heads: 4
    num_layers: {num_layers}
    layer_scale: 0.1
    context: 100
    max_period: 10000.0
    dim_feedforward: 256
"""

_CONFIG = f"""
weights_path: {WEIGHTS_NAME}
flow_lm:
  dtype: float32
  flow: {{dim: 192, depth: 4, type: lsd}}
  transformer:
    hidden_scale: 4
    max_period: 10000
    d_model: 192
    num_heads: 6
    num_layers: 6
    dim_feedforward: 512
  lookup_table:
    dim: 192
    n_bins: 0
    tokenizer: sentencepiece
    tokenizer_path: {TOKENIZER_NAME}
  insert_bos_before_voice: true
mimi:
  dtype: float32
  sample_rate: 16000
  channels: 1
  frame_rate: 12.5
  inner_dim: 32
  outer_dim: 128
  quantizer: {{dimension: 32, output_dimension: 128}}
  seanet: {_SEANET.format(num_filters=8)}
  transformer: {_CODEC_TRANSFORMER.format(num_layers=2)}
  decoder_seanet: {_SEANET.format(num_filters=24)}
  decoder_transformer: {_CODEC_TRANSFORMER.format(num_layers=3)}
replace_characters: {{'"': "", "“": "", "”": "", "’": "'", ";": ",", ":": ",", "(": "", ")": ""}}
default_temperature: 0.3
default_eos_threshold: -1.0
model_recommended_frames_after_eos: 1
"""


def bundle_config(num_text_pieces: int = NUM_TEXT_PIECES) -> dict[str, Any]:
    """The bundle's config as plain data; its two file names are relative to the bundle's own folder."""
    config = yaml.safe_load(_CONFIG)
    config["flow_lm"]["lookup_table"]["n_bins"] = num_text_pieces
    return config


def build_codec() -> MimiModel:
    """A freshly initialised codec of this shape, weights drawn from torch's global generator."""
    return build_mimi(Config(**bundle_config()).mimi)
