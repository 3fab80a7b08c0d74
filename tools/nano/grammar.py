"""Template sentences: a grammar is a list of templates over named word lists; 3 to 12 words a sentence.

Sentences are a function of (seed, stream): two streams may meet by chance, so callers that need disjoint sets pass the
texts that are taken already.
"""

import random
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from calm_ft.randomness import derive_seed

MIN_WORDS, MAX_WORDS = 3, 12


@dataclass(frozen=True)
class Grammar:
    """Templates, one a line, and slot name -> words."""

    templates: str
    vocabulary: Mapping[str, list[str]]

    def num_distinct_words(self) -> int:
        """How many different word forms the templates can say."""
        slots = {word.lower() for forms in self.vocabulary.values() for word in forms}
        fixed = re.findall(r"[a-z']+", re.sub(r"{\w+}", " ", self.templates))
        return len(slots | set(fixed))

    def make_sentences(self, num_sentences: int, *, seed: int, stream: str, taken: Collection[str] = ()) -> list[str]:
        """Distinct sentences, none of them in `taken`; the same arguments give the same list."""
        rng = random.Random(derive_seed(seed, "sentences." + stream))
        templates = [line for line in self.templates.splitlines() if line]
        seen = set(taken)
        sentences: list[str] = []
        while len(sentences) < num_sentences:
            sentence = self._fill(rng.choice(templates), rng)
            if sentence not in seen and MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
                seen.add(sentence)
                sentences.append(sentence)
        return sentences

    def _fill(self, template: str, rng: random.Random) -> str:
        # "{n2}" is another word of slot "n": the digit only tells equal slots of one sentence apart.
        filled = re.sub(r"{(\w+?)\d?}", lambda match: rng.choice(self.vocabulary[match.group(1)]), template)
        filled = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", filled)
        return filled[0].upper() + filled[1:]
