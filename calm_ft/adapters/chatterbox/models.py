"""The networks of a Chatterbox: upstream's own modules, built without weights or at small size.

Sources: chatterbox/tts.py (`ChatterboxTTS.from_local`), chatterbox/models/t3, chatterbox/models/s3gen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.models.voice_encoder import VoiceEncoder


@dataclass
class Models:
    """The networks and the text tokenizer; files: where they came from, by upstream's names (none for random weights).

    tokenizer_file: what `tokenizer` was read from.
    """

    t3: T3
    s3gen: S3Gen
    voice_encoder: VoiceEncoder
    tokenizer: EnTokenizer
    tokenizer_file: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    is_tiny: bool = False


def full_size(tokenizer_file: Path) -> Models:
    """The English model's architecture with fresh random weights; 796M parameters."""
    return Models(T3(), S3Gen(), VoiceEncoder(), EnTokenizer(str(tokenizer_file)), tokenizer_file)
