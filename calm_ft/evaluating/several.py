"""Several runs evaluated one after the other: what they have in common is said and measured once.

Runs of one folder and seed share their base, and all runs of one folder their recordings.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from calm_ft.errors import UserError
from calm_ft.evaluating.run import Evaluation, evaluate
from calm_ft.evaluating.settings import EvaluationSettings


def evaluate_each(
    models: Sequence[str], settings: EvaluationSettings, others: Sequence[Path] = ()
) -> Iterator[tuple[str, Evaluation | UserError]]:
    """Each model with its evaluation, or with why it has none: the others are evaluated all the same.

    Args:
        others: folders of evaluations that other runs have already.

    Raises UserError at once for settings that only one model can have.
    """
    for name, value in (("--output-dir", settings.output_dir), ("--of", settings.of)):
        if len(models) > 1 and value is not None:
            raise UserError(f"{name} {value} is for one run: pass one, or leave it out.")
    done = list(others)
    for model in models:
        try:
            evaluation = evaluate(model, settings, done)
        except UserError as error:
            yield model, error
        else:
            done.append(evaluation.folder)
            yield model, evaluation
