"""How speech is drawn from a model, where that is not to be as the model is played by default."""

from calm_ft.settings import NonNegativeNumber, PositiveInteger, PositiveNumber, Settings


class Playing(Settings):
    """What None leaves to the model.

    temperature: Pocket TTS: variance of the noise; Chatterbox: of the softmax of T3. num_steps: flow steps. cfg_coef:
    classifier-free guidance: 1 is none, 2 is what upstream plays the 24-layer Pocket TTS models with; Chatterbox's
    `cfg_weight` is one less.
    """

    section = "evaluation"

    temperature: NonNegativeNumber | None = None
    num_steps: PositiveInteger | None = None
    cfg_coef: PositiveNumber | None = None

    def but(self, temperature: float | None, num_steps: int | None, cfg_coef: float | None) -> "Playing":
        """The same with what is given in its place."""
        return Playing(
            temperature=self.temperature if temperature is None else temperature,
            num_steps=self.num_steps if num_steps is None else num_steps,
            cfg_coef=self.cfg_coef if cfg_coef is None else cfg_coef,
        )
