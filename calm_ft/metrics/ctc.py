"""A wav2vec2 recogniser as what aligns text with sound: the probability of each letter in each 20 ms.

Source: Baevski et al., "wav2vec 2.0" (2020), fine-tuned with CTC (Graves et al. 2006), in the form in which
transformers saves it; folders of many languages are on the Hugging Face hub.
"""

import logging
from pathlib import Path

import numpy as np
import torch

from calm_ft.hub_faults import one_line
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import ModelMissing

FILES = ("config.json", "vocab.json", "model.safetensors")


class CTCModel:
    """A folder with config.json, vocab.json and model.safetensors, such as a copy of facebook/wav2vec2-base-960h.

    Attributes:
        index: letter -> its row in the output. Case is that of the vocabulary.
        blank: the row of CTC's blank.
        delimiter: the letter between words, None where the vocabulary has none.
        frame_sec: the time of one frame.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises ModelMissing where the folder holds no such model."""
        missing = [name for name in FILES if not (Path(folder) / name).is_file()]
        if missing:
            raise ModelMissing(f"{folder} holds no wav2vec2 with letters as output ({', '.join(missing)} missing).")
        logging.getLogger("transformers").setLevel(logging.ERROR)
        try:
            from transformers import AutoFeatureExtractor, AutoTokenizer, Wav2Vec2ForCTC

            self._model = Wav2Vec2ForCTC.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
            self._features = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # a folder may hold anything
            raise ModelMissing(f"{folder} holds no wav2vec2 that can be loaded ({one_line(error)}).") from error
        self.index: dict[str, int] = {str(token): int(row) for token, row in tokenizer.get_vocab().items()}
        self.blank = int(tokenizer.pad_token_id)
        delimiter = getattr(tokenizer, "word_delimiter_token", None)
        self.delimiter: str | None = delimiter if delimiter in self.index else None
        self.frame_sec = float(np.prod(self._model.config.conv_stride)) / MODEL_RATE_HZ

    @torch.inference_mode()
    def log_probabilities(self, samples: np.ndarray, sample_rate_hz: int) -> torch.Tensor:
        """The log-probability of each row in each frame of mono sound [T]: [F, V]."""
        inputs = self._features(
            at_model_rate(samples, sample_rate_hz), sampling_rate=MODEL_RATE_HZ, return_tensors="pt"
        )
        logits: torch.Tensor = self._model(inputs["input_values"]).logits[0]
        return logits.float().log_softmax(dim=-1)
