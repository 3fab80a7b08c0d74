"""A Pocket TTS of upstream's own classes with a handful of channels, in a folder as released models are."""

import io
import string
from pathlib import Path
from typing import Any

import safetensors.torch
import sentencepiece
import tokenizers
import torch
import yaml
from pocket_tts.models.mimi import build_mimi
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.utils.config import Config

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Pack my box, with five dozen jugs!", "Why? No one knows."]
NUM_PIECES = 68
LATENT_DIM = 8
SAMPLE_RATE_HZ = 1600


def tiny_config(
    num_layers: int = 1, head: str = "lsd", bos_before_voice: bool = True, num_kv_heads: int | None = None
) -> dict[str, Any]:
    """Frames of 80 ms as in the released models, at a sample rate that keeps the codec small."""
    seanet = dict(dimension=16, channels=1, n_filters=2, n_residual_layers=0, ratios=[4, 2], kernel_size=7)
    seanet |= dict(residual_kernel_size=3, last_kernel_size=3, dilation_base=2, pad_mode="constant", compress=2)
    attention = dict(d_model=16, input_dimension=16, output_dimensions=[16], num_heads=2, num_layers=1)
    attention |= dict(layer_scale=0.1, context=50, dim_feedforward=16)
    mimi = dict(dtype="float32", sample_rate=SAMPLE_RATE_HZ, channels=1, frame_rate=12.5, seanet=seanet)
    mimi |= dict(transformer=attention, quantizer=dict(dimension=LATENT_DIM, output_dimension=16))
    mimi |= dict(inner_dim=LATENT_DIM, outer_dim=16)
    transformer: dict[str, Any] = dict(hidden_scale=1, max_period=10000, d_model=16, num_heads=2)
    transformer |= dict(num_layers=num_layers, num_kv_heads=num_kv_heads)
    table = dict(dim=16, n_bins=NUM_PIECES, tokenizer="sentencepiece", tokenizer_path="tokenizer.model")
    flow_lm: dict[str, Any] = dict(dtype="float32", flow=dict(dim=16, depth=1, type=head), transformer=transformer)
    flow_lm |= dict(lookup_table=table, insert_bos_before_voice=bos_before_voice)
    return dict(weights_path="model.safetensors", flow_lm=flow_lm, mimi=mimi)


def write_tiny_bundle(folder: Path, json_tokenizer: bool = False, **shape: Any) -> Path:
    """config.yaml with relative paths, random weights and a tokenizer; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(**shape)
    if json_tokenizer:
        config["flow_lm"]["lookup_table"] |= dict(tokenizer="tokenizers", tokenizer_path="tokenizer.json")
        config["flow_lm"]["lookup_table"]["n_bins"] = write_json_tokenizer(folder / "tokenizer.json")
    else:
        write_sentencepiece(folder / "tokenizer.model")
    write_yaml(folder, config)
    safetensors.torch.save_file(random_state(folder, config), folder / "model.safetensors")
    return folder


def write_yaml(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def random_state(folder: Path, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """A whole state dict of this shape, as upstream initialises it."""
    parsed = Config(**config)
    table = parsed.flow_lm.lookup_table
    table.tokenizer_path = str(folder / table.tokenizer_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tts = TTSModel._from_pydantic_config(parsed, 0.3, 1, None, -4.0, None)
        tts.mimi = build_mimi(parsed.mimi)
        tts.flow_lm.speaker_proj_weight = torch.nn.Parameter(torch.randn(16, LATENT_DIM))
    return {name: tensor.contiguous() for name, tensor in tts.state_dict().items()}


def write_sentencepiece(path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=model,
        vocab_size=NUM_PIECES,
        required_chars=string.ascii_letters + ".,!?'\"",
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def write_json_tokenizer(path: Path) -> int:
    """One token a character; returns the size of the vocabulary."""
    characters = ["<unk>", "▁", *string.ascii_letters, *".,!?'\""]
    model = tokenizers.models.BPE({each: index for index, each in enumerate(characters)}, [], unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    tokenizer.save(str(path))
    return len(characters)
