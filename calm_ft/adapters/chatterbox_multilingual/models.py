"""The networks of Chatterbox Multilingual and its tokenizer, at full size and at a fiftieth of it, with random weights.

Sources: chatterbox/mtl_tts.py (`ChatterboxMultilingualTTS.from_local`), chatterbox/models/t3/modules/t3_config.py.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.models.tokenizers import MTLTokenizer
from chatterbox.models.voice_encoder import VoiceEncoder
from tokenizers import Tokenizer

from calm_ft.adapters.chatterbox.loading import Builders
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.tiny import TinyS3Gen, tiny_t3_config, write_files
from calm_ft.adapters.chatterbox_multilingual.system import MULTILINGUAL
from calm_ft.adapters.quiet import quiet_and_unchanged

TOKENIZER = MULTILINGUAL.tokenizer[0]
TINY_TOKENIZER_FILES = {TOKENIZER: Path(__file__).parents[2] / "assets" / "chatterbox_multilingual_tiny" / TOKENIZER}
TINY_TEXT_TOKENS = 404  # upstream looks for alignments in the layers of a full-size model wherever there are 2454


class GraphemeTokenizer(MTLTokenizer):
    """Upstream's tokenizer without its table of Chinese characters.

    Its constructor asks the hub for the table, for half a minute where there is no connection. Chinese is refused here.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises AssertionError for one without the tokens that begin and end a text."""
        self.tokenizer = tokenizer
        self.check_vocabset_sot_eot()

    @staticmethod
    def of_files(files: Mapping[str, Path], num_rows: int) -> "GraphemeTokenizer":
        """Raises ValueError for tokens beyond the rows that T3 has for them."""
        tokenizer = GraphemeTokenizer(Tokenizer.from_file(str(files[TOKENIZER])))
        most = max(tokenizer.tokenizer.get_vocab().values())
        if most >= num_rows:
            raise ValueError(f"it has a token {most}, and T3 {num_rows} rows")
        return tokenizer


class MultilingualBuilders(Builders):
    """An export of the tiny model may have another tokenizer than the tiny model: that of a further language."""

    def tiny_with(self, tokenizer_files: Mapping[str, Path]) -> ChatterboxModels:
        models = self.tiny(0)
        models.tokenizer = GraphemeTokenizer.of_files(tokenizer_files, TINY_TEXT_TOKENS)
        models.tokenizer_files = tokenizer_files
        return models


def full_size(tokenizer_files: Mapping[str, Path]) -> ChatterboxModels:
    """The released architecture with fresh random weights; 801M parameters."""
    config = T3Config.multilingual()
    tokenizer = GraphemeTokenizer.of_files(tokenizer_files, config.text_tokens_dict_size)
    return ChatterboxModels(T3(config), S3Gen(), VoiceEncoder(), tokenizer, tokenizer_files)


def tiny_models(seed: int) -> ChatterboxModels:
    """Random weights as a function of the seed."""
    with torch.random.fork_rng(devices=[]), quiet_and_unchanged():
        torch.manual_seed(seed)
        config = tiny_t3_config()
        config.text_tokens_dict_size = TINY_TEXT_TOKENS
        tokenizer = GraphemeTokenizer.of_files(TINY_TOKENIZER_FILES, TINY_TEXT_TOKENS)
        networks = T3(config), TinyS3Gen(), VoiceEncoder()
        return ChatterboxModels(*networks, tokenizer, TINY_TOKENIZER_FILES, is_tiny=True)


def write_random_files(folder: Path, seed: int = 0) -> Path:
    """The full-size model's files (3.2 GB) with random weights and the tiny tokenizer; returns the folder."""
    with torch.random.fork_rng(devices=[]), quiet_and_unchanged():
        torch.manual_seed(seed)
        models = full_size(TINY_TOKENIZER_FILES)
    return write_files(models, MULTILINGUAL, folder)
