"""Questions about countries, animals, colours and the calendar."""

from .facts import ANIMALS, COLOURS, COUNTRIES, DAYS, MIX, MLEN, MONTHS, NUMW
from .phrasing import Phrasing, article, cap, the


class WorldQuestions(Phrasing):
    def capital(self):
        c, capital, *_ = self.choose(COUNTRIES)
        q = self.pick(
            """What is the capital of {c}?;What's the capital of {c}?;Which city is the capital of {c}?;Name the capital of {c}.;
            Tell me the capital of {c}.;What is {c}'s capital?;What is the capital city of {c}?;The capital of {c}?;capital of {c};
            Do you know the capital of {c}?;Which city is {c}'s capital?;I need the capital of {c}.;
            ~Could you tell me the capital of {c}?;~What is the name of the capital of {c}?;~Please give me {c}'s capital.""",
            c=the(c),
        )
        return q, f"The capital of {the(c)} is {capital}.", capital

    def capital_of(self):
        c, capital, *_ = self.choose(COUNTRIES)
        q = self.pick(
            """{x} is the capital of which country?;Which country has the capital {x}?;Of which country is {x} the capital?;
            What country is {x} the capital of?;{x} is the capital of what?;~{x} is the capital city of which country?;
            ~Name the country whose capital is {x}.""",
            x=capital,
        )
        return q, f"{capital} is the capital of {the(c)}.", cap(the(c))

    def is_capital(self):
        c, capital, cont, *_ = self.choose(COUNTRIES)
        yes = self.rng.random() < 0.5
        x = capital if yes else self.choose([k for k in COUNTRIES if k[2] == cont and k[1] != capital])[1]
        q = self.pick(
            "Is {x} the capital of {c}?;Is it true that {x} is the capital of {c}?;Is the capital of {c} {x}?;~Is {c}'s capital {x}?",
            x=x,
            c=the(c),
        )
        return q, f"{'Yes' if yes else 'No'}, the capital of {the(c)} is {capital}.", "Yes" if yes else "No"

    def continent(self):
        c, _, cont, *_ = self.choose(COUNTRIES)
        q = self.pick(
            """On which continent is {c}?;Which continent is {c} in?;What continent is {c} on?;Where is {c}?;Where is {c} located?;
            Name the continent of {c}.;In which part of the world is {c}?;~Tell me the continent where {c} lies.;~{c} is on which continent?""",
            c=the(c),
        )
        return cap(q), f"{cap(the(c))} is in {cont}.", cont

    def currency(self):
        c, _, _, cur, _ = self.choose(COUNTRIES)
        q = self.pick(
            """What is the currency of {c}?;Which currency is used in {c}?;What money do people use in {c}?;How do people pay in {c}?;
            Name the currency of {c}.;What currency does {c} use?;currency of {c};Tell me the currency of {c}.;
            ~With what money do I pay in {c}?;~What is {c}'s currency?""",
            c=the(c),
        )
        return q, f"The currency of {the(c)} is the {cur}.", cap(cur)

    def language(self):
        c, *_, lang = self.choose(COUNTRIES)
        q = self.pick(
            """What language is spoken in {c}?;Which language do people speak in {c}?;What is the main language of {c}?;
            What do people speak in {c}?;Name the language of {c}.;language of {c};Which language is used in {c}?;
            ~What is the language in {c}?;~Tell me which language they speak in {c}.""",
            c=the(c),
        )
        return q, f"The main language of {the(c)} is {lang}.", lang

    def animal(self):
        a, sound, legs, home, young, group = self.choose(ANIMALS)
        k = self.rng.randrange(6)
        if k == 0 and sound != "nothing":
            q = self.pick(
                """What sound does {a} make?;What noise does {a} make?;What does {a} say?;How does {a} sound?;
                Which sound does {a} make?;~Tell me the sound of {a}.""",
                a=article(a),
            )
            return q, f"{cap(article(a))} can {sound}.", cap(sound)
        if k == 1:
            n = NUMW[int(legs)] if int(legs) else "no"
            q = self.pick(
                "How many legs does {a} have?;{a} has how many legs?;What is the number of legs of {a}?;~Tell me how many legs {a} has.",
                a=article(a),
            )
            return cap(q), f"{cap(article(a))} has {n} legs.", cap(n if n != "no" else "none")
        if k == 2:
            q = self.pick(
                "Where does {a} live?;What is the home of {a}?;Where can you find {a}?;Where is the home of {a}?;~In what place does {a} live?",
                a=article(a),
            )
            p = "in " if home not in ("a farm", "the savanna", "the ice", "the grassland") else "on "
            return q, f"{cap(article(a))} lives {p}{home}.", cap(p + home)
        if k == 3:
            q = self.pick(
                """What is a young {a} called?;What is a baby {a} called?;What do you call a young {a}?;What is the young of {a} called?;
                Name the young of {A}.;~What is the name for a baby {a}?""",
                a=a,
                A=article(a),
            )
            return q, f"A young {a} is called {article(young)}.", cap(young)
        if k == 4:
            q = self.pick(
                "What kind of animal is {a}?;Which group of animals does {a} belong to?;What type of animal is {a}?;~{a} is what kind of animal?",
                a=article(a),
            )
            return cap(q), f"{cap(article(a))} is {article(group)}.", cap(group)
        g2 = group if self.rng.random() < 0.5 else self.choose("mammal bird insect fish reptile".split())
        q = self.pick("Is {a} {g}?;Is {a} {g} or not?;~Would you say {a} is {g}?", a=article(a), g=article(g2))
        return (
            q,
            f"{'Yes' if g2 == group else 'No'}, {article(a)} is {article(group)}.",
            "Yes" if g2 == group else "No",
        )

    def colour(self):
        if self.rng.random() < 0.2:
            a, b, c = self.choose(MIX)
            if self.rng.random() < 0.5:
                a, b = b, a
            q = self.pick(
                "What colour do you get from {a} and {b}?;Mix {a} and {b}.;What do {a} and {b} make?;~Which colour do I get if I mix {a} with {b}?",
                a=a,
                b=b,
            )
            return q, f"{cap(a)} and {b} make {c}.", cap(c)
        a, b = self.choose(COLOURS)
        if self.rng.random() < 0.25:
            x = b if self.rng.random() < 0.5 else self.choose("red blue green yellow black white".split())
            q = self.pick("Is {a} {x}?;Is it true that {a} is {x}?;~Would you say that {a} is {x}?", a=a, x=x)
            return q, f"{'Yes' if x == b else 'No'}, {a} is {b}.", "Yes" if x == b else "No"
        q = self.pick(
            """What colour is {a}?;Which colour does {a} have?;What is the colour of {a}?;Tell me the colour of {a}.;
            What color is {a}?;~Do you know what colour {a} is?;~{a} has which colour?""",
            a=a,
        )
        return cap(q), f"{cap(a)} is {b}.", cap(b)

    def calendar(self):
        seq = self.choose((DAYS, MONTHS))
        w = "day" if seq is DAYS else "month"
        i = self.rng.randrange(len(seq))
        a = seq[i]
        k = self.rng.randrange(4)
        nx, pv = seq[(i + 1) % len(seq)], seq[i - 1]
        if k == 0:
            q = self.pick(
                "What {w} comes after {a}?;Which {w} is after {a}?;What is the {w} after {a}?;Which {w} follows {a}?;~Tell me the {w} that comes next after {a}.",
                w=w,
                a=a,
            )
            return q, f"{nx} comes after {a}.", nx
        if k == 1:
            q = self.pick(
                "What {w} comes before {a}?;Which {w} is before {a}?;What is the {w} before {a}?;~Tell me the {w} that comes right before {a}.",
                w=w,
                a=a,
            )
            return q, f"{pv} comes before {a}.", pv
        if seq is DAYS:
            if k == 2:
                q = self.pick(
                    "If today is {a}, what day is tomorrow?;Today is {a}. What day is tomorrow?;Today is {a}. And tomorrow?;~It is {a} today. Which day is tomorrow?",
                    a=a,
                )
                return q, f"Tomorrow is {nx}.", nx
            q = self.pick(
                "If today is {a}, what day was yesterday?;Today is {a}. What day was yesterday?;~It is {a} today. Which day was yesterday?",
                a=a,
            )
            return q, f"Yesterday was {pv}.", pv
        if k == 2:
            q = self.pick(
                "How many days does {a} have?;How many days are in {a}?;~Tell me the number of days in {a}.", a=a
            )
            return q, f"{a} has {MLEN[i]} days.", str(MLEN[i])
        q = self.pick(
            "Which month of the year is {a}?;What is the number of the month {a}?;~What number is the month of {a}?",
            a=a,
        )
        return q, f"{a} is month number {i + 1}.", str(i + 1)
