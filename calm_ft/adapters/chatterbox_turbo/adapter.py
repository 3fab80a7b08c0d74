"""Chatterbox Turbo as a `TTSAdapter`: the English model's rows and features, with its own text, loudness and drawing.

S3Gen is distilled to two steps (mean flow). Upstream has no loss for it, so it stays frozen, and T3 trains alone. Its
rows are prompted by other clips: two public kits prompted with the clip that is to be said, and ignored the text.
"""

from dataclasses import dataclass

import torch
from chatterbox.models.s3gen.const import S3GEN_SIL
from chatterbox.tts import Conditionals
from torch import Tensor

from calm_ft.adapters.chatterbox.adapter import ChatterboxFamilyAdapter
from calm_ft.adapters.chatterbox.export import StockClass
from calm_ft.adapters.chatterbox.features import Hearing
from calm_ft.adapters.chatterbox.loading import Builders
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.objective import ChatterboxObjective
from calm_ft.adapters.chatterbox.synthesis import SpokenTokens, condition_of, speakable
from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy
from calm_ft.adapters.chatterbox_turbo.models import TINY_TOKENIZER_FILES, full_size, tiny_models
from calm_ft.adapters.chatterbox_turbo.system import TURBO
from calm_ft.adapters.chatterbox_turbo.text import TurboText
from calm_ft.adapters.playing import Playing
from calm_ft.errors import UserError

LOUDNESS_LUFS = -27.0  # to which stock brings references
FINAL_SILENCE = 3  # tokens that stock puts behind what was said


@dataclass(frozen=True)
class TurboSampling:
    """temperature of the softmax; the rest as upstream's `generate` has it."""

    temperature: float
    max_speech_tokens: int
    top_k: int = 1000
    top_p: float = 0.95
    repetition_penalty: float = 1.2


class ChatterboxTurboAdapter(ChatterboxFamilyAdapter):
    """Chatterbox Turbo, which speaks without guidance and without an emotion."""

    release = TURBO
    builders = Builders(full_size, tiny_models, TINY_TOKENIZER_FILES)
    stock = StockClass("chatterbox.tts_turbo", "ChatterboxTurboTTS")
    experiments = "experiment=chatterbox_turbo_t3 or chatterbox_turbo_lora"
    flow_steps = 2
    min_voice_sec = 5.0  # stock refuses references that are not longer

    def __init__(
        self,
        model: str,
        objective: ChatterboxObjective,
        local_dir: str | None = None,
        max_text_tokens: int = 256,
        max_speech_tokens: int = 1000,
        prompt_sec: float = 15.0,
        gradient_checkpointing: bool = False,
        seed: int = 0,
        language: str = "en",
    ) -> None:
        """Load a model.

        Args:
            model: the hub's repository, or "tiny" for random weights at small size; local_dir: a folder with its files.
            max_text_tokens, max_speech_tokens: longer clips are left out; the latter bounds generation too.
            prompt_sec: how much of another clip prompts T3 at most.
            gradient_checkpointing: the backbone's activations are computed twice instead of kept.
            seed: of the tiny model's weights; language: ISO 639-1 code of what the model speaks.

        Raises UserError for every way in which the model cannot be had or trained.
        """
        super().__init__(
            model,
            objective,
            local_dir,
            max_text_tokens,
            max_speech_tokens,
            Hearing(prompt_sec, LOUDNESS_LUFS, self.min_voice_sec),
            0.0,
            gradient_checkpointing,
            seed,
            language,
        )

    def _check_objective(self, objective: ChatterboxObjective) -> None:
        if not isinstance(objective, T3CrossEntropy):
            raise UserError(
                "Chatterbox Turbo's S3Gen is distilled, and there is no loss for it: choose "
                f"{self.experiments}, which train T3."
            )
        if objective.text_weight or objective.double_start:
            raise UserError(
                "Chatterbox Turbo predicts no text, and speech begins with one start token: set "
                f"objective.text_weight=0 and objective.double_start=false, or choose {self.experiments}."
            )

    def _text(self, max_text_tokens: int) -> TurboText:
        return TurboText(self.models.tokenizer, max_text_tokens)

    def _sampling(self, playing: Playing) -> TurboSampling:
        if playing.cfg_coef not in (None, 1):
            raise UserError(f"Chatterbox Turbo speaks without guidance: leave cfg_coef ({playing.cfg_coef:g}) out.")
        return TurboSampling(self._temperature(playing), self.max_speech_tokens)

    def _draw(self, voice: Conditionals, text_tokens: Tensor, sampling: TurboSampling) -> SpokenTokens:
        tokens, ended = generate_tokens(self.models, voice, text_tokens, sampling)
        spoken = speakable(tokens)
        silence = torch.full((FINAL_SILENCE,), S3GEN_SIL, device=spoken.device)
        return SpokenTokens(torch.cat([spoken, silence]) if len(spoken) else spoken, ended)


def generate_tokens(
    models: ChatterboxModels, voice: Conditionals, text_tokens: Tensor, sampling: TurboSampling
) -> tuple[Tensor, bool]:
    """(speech tokens [N] as T3 draws them from global random state, whether the stop token came).

    Upstream takes the stop token off, draws one token more than its limit, and does not stop at a stop token that it
    draws first. So only the length tells whether the end came by itself.
    """
    tokens = models.t3.inference_turbo(
        t3_cond=condition_of(voice),
        text_tokens=text_tokens[None].to(models.t3.device),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        max_gen_len=sampling.max_speech_tokens,
    )
    return tokens[0].clone(), tokens.shape[1] <= sampling.max_speech_tokens
