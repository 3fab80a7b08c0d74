"""Everyday sentences: short statements and questions over common words.

The embedded model is small: it reads plain sentences of words that it met often and stumbles over rare ones. `EVERYDAY`
gives the sentences of the demo, which is about voices and stays near what the base can read. `PLAIN` is what the base
learns to read by: the same and more, with numbers to a hundred, names, commas and more questions. The templates of
`sentences` reach further, to words that are rare.
"""

import re

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

_UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_UNITS += " eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def number_words(number: int) -> str:
    """A number from 0 to 100 as one says it: 42 -> "forty two"."""
    if number == 0:
        return "zero"
    if number == 100:
        return "a hundred"
    if number < 20:
        return _UNITS.split()[number - 1]
    tens, units = divmod(number, 10)
    return _TENS.split()[tens - 2] + (f" {_UNITS.split()[units - 1]}" if units else "")


def spelled_out(text: str) -> str:
    """The text with its numbers, 0 to 100, as espeak-ng says them: `room 42` -> `room forty two`."""
    return re.sub(r"\d+", lambda match: "one hundred" if match[0] == "100" else number_words(int(match[0])), text)


NUMBER_TEMPLATES = """
there are {num} {ns} {pp} the {n}.
{Name} is {num} years old.
the {n} costs {num} dollars.
I have {num} {ns} and {num2} {ns2}.
{he} {tr} {num} {ns} on {day}.
it is {num} minutes past {hour}.
{num} plus {num2} is {num3}.
please turn to page {num}.
room {num} is {pp} the {n}.
after {num} days, the {n} was {a}.
I would like {num} {ns}, please.
{Name} lives at number {num}.
"""

QUESTION_TEMPLATES = """
who {tr} my {a} {n}?
what did {Name} say?
where did you see the {n}?
when did the {n} arrive?
how many {ns} are there?
how old is the {n}?
do you like {poss} {a} {n}?
can {he} see the {n}?
why is the {n} so {a}?
is {Name} at home?
did {Name} and {Name2} walk {adv}?
would you like a {a} {n}?
have you seen my {n}, {Name}?
"""

NAME_TEMPLATES = """
{Name}, {Name2} and {Name3} {v} {adv}.
hello, my name is {Name}.
thank you, {Name}.
good {daypart}, {Name}!
{Name} and {Name2} {tr} the {n}.
I think {Name} is very {a}.
{Name} said that the {n} was {a}.
this is {Name}, the {n}.
"""

_OTHER_TEMPLATES = """
yes, {he} {tr} the {n}.
no, the {n} is not {a}.
my {n} and your {n2} are {a}.
we {v} {adv}, and {Name} {tr} the {n}.
on {day}, we {v} {pp} the {n}.
when the {n} {v}, the {n2} {v2}.
I {adv} {tr} the {n}.
they {v} {pp} the {a} {n}.
don't forget your {n}.
the {n} is {a}, but the {n2} is {a2}.
{adv}, the {a} {n} {v}.
I know that you {tr} it.
we are {a} and {a2}.
it was a {a} and {a2} {n}.
"""

_MORE_WORDS = {
    "a": "big tall long happy sad nice good bad strange new heavy light empty full fast yellow brown blue cheap "
    "funny kind tired hungry ready late free great",
    "n": "man woman boy girl friend music water morning night street school shop kitchen chair bread coffee train car "
    "bus phone computer paper story song game hand head face room wall floor office hotel summer winter baby hat coat "
    "box bag cup plate key clock wind rain sun moon star sea island mountain hill bridge station market",
    "ns": "men women boys girls friends streets shops chairs trains cars phones papers stories songs games hands rooms "
    "walls hats coats boxes bags cups plates keys clocks stars islands hills bridges apples minutes hours",
    "v": "stayed left came went talked looked helped stood sat began",
    "tr": "saw heard wanted made broke washed read wrote ate loved watched gave sent left told asked knew",
    "adv": "again soon later often never tonight tomorrow really suddenly there here alone",
    "he": "I you we they",
    "poss": "my their",
    "Name": "Mary John Peter Lucy Tom Anna Mark Julia Robert Sarah Daniel Laura George Alice Henry Grace Simon Nora "
    "Oscar Helen Martin Rosa",
}


def _plain() -> Grammar:
    vocabulary = {slot: EVERYDAY.vocabulary[slot] + _MORE_WORDS.get(slot, "").split() for slot in EVERYDAY.vocabulary}
    spoken = [number_words(number) for number in range(101)]
    vocabulary |= {
        "num": spoken + [str(number) for number in range(101)],
        "hour": spoken[1:13] + [str(number) for number in range(1, 13)],
        "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
        "daypart": ["morning", "evening", "night", "afternoon"],
    }
    special = NUMBER_TEMPLATES + QUESTION_TEMPLATES + NAME_TEMPLATES + _OTHER_TEMPLATES
    return Grammar(EVERYDAY.templates + EVERYDAY.templates + special, vocabulary)


PLAIN = _plain()
