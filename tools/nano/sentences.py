"""The corpus's sentences: templates over the word lists, ending in `.`, `!` or `?`, some with commas."""

from collections.abc import Callable, Collection
from functools import lru_cache

from tools.nano import words as w
from tools.nano.grammar import MAX_WORDS, MIN_WORDS, Grammar

__all__ = ["MAX_WORDS", "MIN_WORDS", "make_sentences", "num_distinct_words"]

TEMPLATES = """
the {a} {n} {pasttr} the {n2}.
the {n} {pastin} {adv}.
{Name} {pasttr} a {a} {n}.
{Name} {thirdtr} {ns} and {ns2}.
my {n} is very {a}.
this {n} was {a} and {a2}.
we {pasttr} the {a} {ns} near the {p}.
did {Name} {tr} the {n}?
do you {tr} {a} {ns}?
can the {n} {in_} {adv}?
why is the {n} so {a}?
where are the {num} {ns}?
who {pasttr} my {a} {n}?
what a {a} {n}!
{tr} the {n} now!
please {tr} the {a} {n}.
don't {tr} that {n}!
{adv}, the {l} {pastin} in the {p}.
the {l} {thirdin}, and the {l2} {thirdin2}.
when the {l} {pastin}, {Name} {pasttr} the {n}.
{Name}, {Name2} and the {l} {pastin}.
{num} {a} {ls} {pastin} behind the {p}.
there are {num} {ns} in the {p}.
{Name} moved from {Town} to {Town2}.
on {time}, the {l} will {tr} the {n}.
I {adv} {tr} {food} with {food2}.
she likes {food}, {food2} and {food3}.
he was {gertr} a {material} {n}.
they are {gerin} near the {a} {p}.
the {p} of {Town} is {a}.
every {l} {thirdtr} some {food}.
no {l} could {tr} the {i} of {Name}.
her {i} was {alike} and {a}.
if you {in_}, the {l} will {in2}.
I think the {i} is {a}, but {Name} doesn't.
{Name} said that the {n} was {a}.
the {material} {n} costs {num} dollars.
our {l} {adv} {pasttr} the {i}.
is this {food} {a} or {a2}?
how {a} the {p} was!
{ns}, {ns2} and {ns3}!
good {daypart}, {Name}!
it was a {a}, {a2} {i}.
{Name} and {Name2} {adv} {pasttr} {num} {ns}.
nobody {pasttr} the {i} until {time}.
the {a} {l} from {Town} {pastin}.
you should {tr} your {n} before {time}.
has {Name} {pasttr} the {a} {p}?
some {ls} {in_}, others {in2}.
after {num} {is_}, the {l} {pastin} {adv}.
"""


def _vocabulary() -> dict[str, list[str]]:
    """Slot name -> its words."""
    transitive, intransitive = w.words(w.TRANSITIVE_VERBS), w.words(w.INTRANSITIVE_VERBS)
    nouns, living, ideas = w.words(w.THINGS), w.words(w.LIVING), w.words(w.IDEAS)
    adjectives = w.words(w.ADJECTIVES)
    manner = [w.adverb(adjective) for adjective in adjectives if not adjective.endswith("ly")]
    return {
        "n": nouns,
        "ns": _mapped(w.plural, nouns + ideas),
        "l": living,
        "ls": _mapped(w.plural, living),
        "p": w.words(w.PLACES),
        "i": ideas,
        "is_": _mapped(w.plural, ideas),
        "a": adjectives,
        "alike": adjectives,
        "adv": manner + w.words(w.ADVERBS),
        "tr": transitive,
        "thirdtr": _mapped(w.third_person, transitive),
        "pasttr": _mapped(w.past, transitive),
        "gertr": _mapped(w.gerund, transitive),
        "in_": intransitive,
        "in": intransitive,
        "thirdin": _mapped(w.third_person, intransitive),
        "pastin": _mapped(w.past, intransitive),
        "gerin": _mapped(w.gerund, intransitive),
        "food": w.words(w.FOODS),
        "material": w.words(w.MATERIALS),
        "Name": w.words(w.NAMES),
        "Town": w.words(w.TOWNS),
        "num": w.words(w.NUMBERS),
        "time": w.words(w.TIMES),
        "daypart": ["morning", "evening", "night", "afternoon"],
    }


@lru_cache(maxsize=1)
def _grammar() -> Grammar:
    return Grammar(TEMPLATES, _vocabulary())


def num_distinct_words() -> int:
    """How many different word forms the templates can say."""
    return _grammar().num_distinct_words()


def make_sentences(num_sentences: int, *, seed: int, stream: str, taken: Collection[str] = ()) -> list[str]:
    """`Grammar.make_sentences` of the corpus's grammar."""
    return _grammar().make_sentences(num_sentences, seed=seed, stream=stream, taken=taken)


def _mapped(inflect: Callable[[str], str], forms: list[str]) -> list[str]:
    return [inflect(form) for form in forms]
