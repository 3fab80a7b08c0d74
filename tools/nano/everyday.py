"""Everyday sentences for the demo: short statements and questions over common words.

The embedded model is small: it reads plain sentences of words that it met often (its tokenizer's longer pieces show
which) and stumbles over rare ones. The demo is about voices, so its sentences stay near what the base can read; the
corpus's own templates (`sentences`) reach further.
"""

from tools.nano.grammar import Grammar

_TEMPLATES = """
the {a} {n} {v} {pp} the {n2}.
the {a} {n} {v} {adv}.
{Name} {v} {pp} the {a} {n}.
{Name} {tr} the {a} {n}.
{Name} {tr} the {n} and {v}.
the {n} and the {n2} {v} {pp} the {n3}.
{he} {tr} {poss} {a} {n} {adv}.
is this {n} {a} or {a2}?
is the {a} {n} {pp} the {n2}?
there are {num} {ns} {pp} the {n}.
there was a {a} {n} {pp} the {n2}.
you {tr} the {n} {pp} {poss} {n2}.
this {n} is very {a}.
this is the {n} of the {a} {n2}.
where is {poss} {a} {n}?
please look at the {a} {n}.
every {n} {v} {pp} our {n2}.
{he} {v} {adv} {pp} the {n}.
the {n} of the {n2} was {a} and {a2}.
{Name} and {Name2} {v} {adv}.
"""

_VOCABULARY = {
    "a": "clean quiet early quick short cold simple kind full golden wooden bitter soft sweet gentle dirty narrow "
    "young small angry loud hard warm dark little new old red green white black slow strong bright",
    "n": "farm ship field show question ticket name father answer bird garden sailor horse idea shirt letter picture "
    "queen village cloud spoon number house river table window teacher mother brother sister dog cat tree boat "
    "road door book child doctor farmer king flower",
    "ns": "ships fields questions tickets names birds gardens sailors horses letters pictures clouds spoons numbers "
    "houses rivers tables windows dogs cats trees boats roads doors books",
    "v": "slept ran turned cried sang stopped climbed smiled walked waited fell laughed listened spoke danced arrived "
    "jumped played worked swam",
    "tr": "sold painted lost bought needed cooked visited dropped pulled forgot carried helped called fixed liked drew "
    "closed remembered followed opened kept took moved found",
    "pp": "over under across above inside past behind near beside below around through",
    "adv": "today yesterday always carefully together early quickly slowly",
    "he": "he she",
    "poss": "his her our your",
    "num": "four twelve twenty fifty",
    "Name": "Sam Ann Clara Paul Tina Frank David Emma",
}

EVERYDAY = Grammar(_TEMPLATES, {slot: words.split() for slot, words in _VOCABULARY.items()})
