"""Which language each recording is in, and by which recogniser and aligner the clips of each language are made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from calm_ft.errors import UserError
from calm_ft.preparation.pieces import Recording
from calm_ft.preparation.tools import ClipSettings, SettingsByLanguage
from calm_ft.preparation.words.alignment import choose_aligner
from calm_ft.preparation.words.text import language_of
from calm_ft.preparation.words.transcription import AUTO, NONE, choose_listener, knows_english_alone

NUM_TEXTS_FOR_LANGUAGE = 500


@dataclass(frozen=True)
class Languages:
    """The languages of a set, as codes of ISO 639-1.

    Attributes:
        listed: those that rows of the list name, the same for each once, in the order of the alphabet.
        given: what --language says of all other recordings.
        detected: the language of most texts of those other recordings; None where it was not asked for or not found.
    """

    listed: tuple[str, ...] = ()
    given: str | None = None
    detected: str | None = None

    def of(self, recording: Recording) -> str | None:
        """What the recording's text is read in: what its row names, else --language, else what was detected."""
        return recording.language or self.given or self.detected

    def named_for(self, recording: Recording) -> str:
        """What the dataset says of it, empty where nobody named a language.

        What was only detected is not written: a model that speaks another language, such as one that is to be learned,
        would train the clip in the detected one.
        """
        return recording.language or self.given or ""

    def text(self, recordings: Iterable[Recording]) -> str | None:
        """The languages of the recordings for people, such as "en, fr"; None where none is known."""
        return ", ".join(sorted({language for each in recordings if (language := self.of(each))})) or None


def find_languages(recordings: Sequence[Recording], given: str | None) -> Languages:
    """The languages that rows name, and that of the recordings whose rows name none."""
    listed = tuple(sorted({each.language for each in recordings if each.language}))
    texts = (each.text for each in recordings if each.text and not each.language)
    detected = None if given else language_of(list(islice(texts, NUM_TEXTS_FOR_LANGUAGE)))
    return Languages(listed, given, detected)


def settings_by_language(
    settings: ClipSettings, transcribe: str, recordings: Sequence[Recording], languages: Languages
) -> SettingsByLanguage:
    """The settings of a set in each language, by `Recording.language`.

    Args:
        settings: what is the same in all languages; `aligner_model` is that of --aligner-model.
        transcribe: what --transcribe says.

    Raises:
        UserError: a recogniser or an aligner cannot be had, or nothing says which language the aligner's model is for.
    """
    groups: dict[str | None, list[Recording]] = {None: []}
    for each in recordings:
        groups.setdefault(each.language, []).append(each)
    if languages.listed and not groups[None]:
        del groups[None]
    spoken = {own: own or languages.given or languages.detected for own in groups}
    heard = _heard_languages(transcribe, spoken.values())
    found: dict[str | None, ClipSettings] = {}
    for own, language in spoken.items():
        is_wanted = transcribe != AUTO or any(each.text is None for each in groups[own])
        listener = choose_listener(transcribe, language) if is_wanted and language in heard else None
        model = _aligner_model(settings.aligner_model, language, languages, set(spoken.values()))
        aligner = choose_aligner(language, model)
        found[own] = replace(
            settings,
            language=language,
            listener=NONE if listener is None else listener.name,
            aligner="" if aligner is None else aligner.name,
            aligner_model=model,
        )
    return found


def _heard_languages(transcribe: str, languages: Iterable[str | None]) -> set[str | None]:
    """The languages that the recogniser is asked for; one that knows English alone is asked for no other beside it."""
    wanted = set(languages)
    english = wanted & {"en", None}
    return english if knows_english_alone(transcribe) and english else wanted


def _aligner_model(
    model: str | None, language: str | None, languages: Languages, wanted: set[str | None]
) -> str | None:
    """The folder of --aligner-model for recordings of its language, None for all others."""
    if model is None or len(wanted) == 1:
        return model
    if languages.given is None:
        names = ", ".join(sorted(each or "an unknown one" for each in wanted))
        raise UserError(
            f"--aligner-model is a model of one language, and the recordings are in several ({names}): say by "
            "--language which one it is for."
        )
    return model if language == languages.given else None
