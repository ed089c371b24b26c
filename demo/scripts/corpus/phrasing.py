"""What every kind of question is made with: a seeded source of choices, phrasings, and a little English."""

import random

SYLLABLES = """ba be bo da di do fa fi ga go ka ki ko la le lo ma mi mo na ni no
pa pe po ra ri ro sa si so ta ti to va vi vo za zo""".split()
WITH_ARTICLE = {"Netherlands", "Philippines", "United States", "United Kingdom", "Gambia"}


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def cap(text):
    return text[0].upper() + text[1:]


def the(country):
    return "the " + country if country in WITH_ARTICLE else country


class Phrasing:
    """Draws everything from one seeded source, so that a seed gives one corpus.

    The order of the draws is part of that: a draw added or left out changes all that follows.
    With held=True, held-out phrasings are taken wherever a question has them.
    """

    def __init__(self, seed, held=False):
        self.rng, self.held = random.Random(seed), held
        self.choose = self.rng.choice
        self.unseen = False  # whether the last phrasing picked was a held-out one

    def pick(self, forms, **fields):
        """One phrasing out of "a;b;~held-out", with its fields filled in."""
        phrasings = [form.strip() for form in forms.replace("\n", " ").split(";")]
        held = [form[1:] for form in phrasings if form[0] == "~"]
        seen = [form for form in phrasings if form[0] != "~"]
        self.unseen = bool(self.held and held)
        return self.choose(held if self.unseen else seen).format(**fields)

    def word(self):
        """A word that means nothing."""
        return "".join(self.choose(SYLLABLES) for _ in range(self.rng.choice((2, 3))))
