"""Which way is better is known of the evaluation's figures; what no evaluation of the run gives is refused."""

import pytest
from calm_ft.training.judgement import Judgement
from calm_ft.training.monitor import Monitor, monitor_of

from calm_ft.errors import UserError
from calm_ft.training.settings import CheckpointSettings

EVALUATED = Judgement(8, 1, every_n_steps=200)


def by(name: str, mode: str | None = None) -> CheckpointSettings:
    return CheckpointSettings(every_n_steps=1, keep=1, monitor=name, mode=mode)


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("eval/cer", None, "min"),
        ("eval/cer", "min", "min"),
        ("eval/sentence_identified", None, "max"),
        ("eval/runaway", None, "min"),
        ("eval/duration_ratio", "max", "max"),
        ("val/residual", None, "min"),
        ("val/residual", "max", "max"),
    ],
)
def test_the_mode_is_that_of_the_figure_or_the_one_given(name: str, mode: str | None, expected: str) -> None:
    assert monitor_of(by(name, mode), EVALUATED) == Monitor(name, expected)


@pytest.mark.parametrize(
    ("name", "mode", "judgement", "said"),
    [
        ("eval/mos", None, EVALUATED, "eval/wer, eval/cer"),
        ("eval/rtf", None, EVALUATED, "no figure of the evaluation"),  # it hangs on what else the machine does
        ("eval/cer", "max", EVALUATED, "checkpoint.mode=min"),
        ("eval/duration_ratio", None, EVALUATED, "checkpoint.mode=min or max"),
        ("eval/dnsmos_overall", None, EVALUATED, "evaluation.opinion_scores=true"),
        ("eval/cer", None, Judgement(8, 1), "evaluation.every_n_steps=200"),
        ("eval/cer", None, Judgement(0, 1, every_n_steps=200), "evaluation.num_sentences=0"),
    ],
)
def test_what_cannot_be_monitored_is_one_sentence(name: str, mode: str | None, judgement: Judgement, said: str) -> None:
    with pytest.raises(UserError, match=said):
        monitor_of(by(name, mode), judgement)
