"""Small talk, the model itself, its shop, and questions that it cannot answer."""

from .facts import CATS, CITIES, DAYS, NAMES
from .phrases import DEFS, IDENTITY, MISC, SHOP, SMALLTALK
from .phrasing import Phrasing, cap


class TalkQuestions(Phrasing):
    def misc(self):
        qs, full, short = self.choose(MISC)
        return self.pick(qs), full, short

    def shop(self):
        qs, full, short = self.choose(SHOP)
        return self.pick(qs), full, short

    def identity(self):
        qs, full, short = self.choose(IDENTITY)
        return self.pick(qs), full, short

    def smalltalk(self):
        qs, full, _ = self.choose(SMALLTALK)
        return self.pick(qs), full, full

    def unknown(self):
        c = cap(self.word())
        n = self.choose(NAMES)
        city = self.choose(CITIES)
        d = self.choose(DAYS)
        if self.rng.random() < 0.35:
            q = self.pick(
                "What is the capital of {c}?;What is the currency of {c}?;Where is {c}?;What language is spoken in {c}?;Who is {c}?;What is a {c}?;What does {c} mean?;~Tell me about {c}.",
                c=c,
            )
        else:
            q = self.pick(
                """What is the weather in {city} today?;What did I eat on {d}?;Who will win the match on {d}?;What is my sister called?;
                What is the phone number of {n}?;Where is {n} now?;What did {n} say on {d}?;How old is {n}?;What will happen next year?;What time is it?;
                What is the news today?;How much money do I have?;What am I thinking?;Which lottery numbers will win?;What is the price of gold today?;
                When is the birthday of {n}?;Where are my keys?;What is in my bag?;How is the weather in {city}?;Who is the boss of {n}?;What is today's date?;
                ~Will it rain in {city} on {d}?;~What did {n} do on {d}?;~Where did I put my phone?;~What does {n} want for lunch?""",
                c=c,
                n=n,
                city=city,
                d=d,
            )
        return q, "Sorry, I do not know that.", "I do not know"

    def cannot(self):
        x = self.choose([d[0] for d in DEFS])
        n = self.choose(NAMES)
        w = self.choose(CATS["job"])
        q = self.pick(
            """Write a poem about {x}.;Translate this into German: I like {x}.;Write a song about {x}.;Write a program in Python.;Solve this equation: 3x + 5 = 20.;
            Explain the history of {x}.;Who invented {x}?;Write a book about {n}.;Draw a picture of {x}.;Show me a photo of {x}.;Play some music.;Explain physics to me.;
            Search the internet for {x}.;Call {n} for me.;Book a flight for {n}.;Buy me {x}.;Who wrote the first book about {x}?;Find me a good {w}.;
            ~Write a long essay about {x}.;~Send a message to {n}.;~Translate {x} into French.""",
            x=x,
            n=n,
            w=w,
        )
        return q, "Sorry, I am too small for that.", "I cannot do that"
