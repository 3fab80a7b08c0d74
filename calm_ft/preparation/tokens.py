"""What a model's tokenizer makes of the texts: the tokens of each clip, and the characters that it does not know.

A text is counted as Pocket TTS gives it to its tokenizer by default: with a capital letter first and a sentence mark
last. Which characters a model's settings replace before is not known here; train.py, which has the model, says it.
"""

from collections import Counter
from collections.abc import Sequence

from calm_ft.data.text_coverage import count_characters, visible_name
from calm_ft.data.tokenizer import TokenReader
from calm_ft.preparation.checks import Finding
from calm_ft.preparation.clips import PreparedClip

UNREAD = "unread_characters"
_SENTENCE_MARKS, _WEAK_MARKS, _CLOSING = (".", "!", "?", "…"), ",;:-–— ", "\"'”’)]»"


def count_tokens(clips: Sequence[PreparedClip], tokenizer: TokenReader) -> list[Finding]:
    """Sets `num_tokens` of every clip.

    Returns a finding for each clip with characters that the tokenizer does not know, and one for each such character.
    """
    unknown: dict[str, Counter[str]] = {}
    for clip in clips:
        text = as_read(clip.text)
        clip.num_tokens = tokenizer.num_tokens(text)
        found = tokenizer.unknown_characters(text)
        if found:
            unknown[clip.id] = found
    return [
        *(Finding(UNREAD, id, f"it does not know {_listed(found)}") for id, found in unknown.items()),
        *(
            Finding(
                UNREAD,
                None,
                f"{visible_name(character)}: {count.times}x in {count.clips} "
                f"{'clip' if count.clips == 1 else 'clips'}, such as {', '.join(count.examples)}",
            )
            for character, count in count_characters(unknown).items()
        ),
    ]


def as_read(text: str) -> str:
    """A text as it reaches the tokenizer."""
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    core = text.rstrip(_CLOSING + " ")
    if not core or core.endswith(_SENTENCE_MARKS):
        return text
    return text + "." if core[-1] not in _WEAK_MARKS else core.rstrip(_WEAK_MARKS) + "." + text[len(core) :]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{visible_name(each)} ({times}x)" for each, times in counts.most_common())
