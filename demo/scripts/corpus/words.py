"""Questions about words: opposites, plurals, categories, letters, definitions."""

from .facts import CATS, NAMES, NUMW, OPPOSITES, PAST, PLURALS, SYNONYMS
from .phrases import DEFS
from .phrasing import Phrasing, article, cap


class WordQuestions(Phrasing):
    def opposite(self):
        p = list(self.choose(OPPOSITES))
        self.rng.shuffle(p)
        a, b = p
        q = self.pick(
            """What is the opposite of {a}?;What's the opposite of {a}?;Give me the opposite of {a}.;Name the opposite of {a}.;
            opposite of {a};Which word is the opposite of {a}?;What is the antonym of {a}?;~Tell me a word that means the opposite of {a}.;~{a} is the opposite of what?""",
            a=a,
        )
        alt = [y if x == a else x for x, y in OPPOSITES if a in (x, y)]
        b = alt[0]
        return cap(q) if self.unseen else q, f"The opposite of {a} is {b}.", cap(b)

    def synonym(self):
        a = self.choose(SYNONYMS)[0]
        b = [y for x, y in SYNONYMS if x == a][0]
        q = self.pick(
            """What is a synonym of {a}?;Give me a synonym for {a}.;Which word means the same as {a}?;What is another word for {a}?;
            Name a synonym of {a}.;~Tell me a word that is similar to {a}.;~Do you know another word for {a}?""",
            a=a,
        )
        return q, f"A synonym of {a} is {b}.", cap(b)

    def plural(self):
        a, b = self.choose(PLURALS)
        if self.rng.random() < 0.25 and a != b:
            q = self.pick(
                "What is the singular of {b}?;Give me the singular of {b}.;~Tell me the singular form of {b}.", b=b
            )
            return q, f"The singular of {b} is {a}.", cap(a)
        q = self.pick(
            """What is the plural of {a}?;Give me the plural of {a}.;plural of {a};How do you write the plural of {a}?;
            One {a}, two what?;~Tell me the plural form of {a}.;~What's the plural of {a}?""",
            a=a,
        )
        return q, f"The plural of {a} is {b}.", cap(b)

    def past(self):
        a, b = self.choose(PAST)
        q = self.pick(
            """What is the past tense of {a}?;Give me the past tense of {a}.;past tense of {a};What is the past of {a}?;
            Put the verb {a} in the past tense.;Today I {a}. Yesterday I ...?;~Tell me the past form of {a}.;~What's the past tense of the verb {a}?""",
            a=a,
        )
        return q, f"The past tense of {a} is {b}.", cap(b)

    def category(self):
        cat = self.choose(list(CATS))
        w = self.choose(CATS[cat])
        k = self.rng.randrange(4)
        other = self.choose([x for x in CATS if x != cat])
        if w == "orange":
            cat, other = "fruit", "vegetable"
        aw = w if cat in ("drink", "sport", "colour") or w == "pliers" else article(w)
        if k == 0:
            o = [cat, other]
            self.rng.shuffle(o)
            q = self.pick(
                "Is {w} {a} or {b}?;Is {w} {a}, or is it {b}?;~What is {w}: {a} or {b}?",
                w=aw,
                a=article(o[0]),
                b=article(o[1]),
            )
        elif k == 1:
            x = cat if self.rng.random() < 0.5 else other
            q = self.pick("Is {w} {a}?;Is it true that {w} is {a}?;~Would you say {w} is {a}?", w=aw, a=article(x))
            return q, f"{'Yes' if x == cat else 'No'}, {aw} is {article(cat)}.", "Yes" if x == cat else "No"
        elif k == 2:
            q = self.pick(
                """What kind of thing is {w}?;To which category does {w} belong?;Put {w} into a category.;Which category fits {w}?;
                ~What sort of thing is {w}?""",
                w=aw,
            )
        else:
            ws = self.rng.sample([x for x in CATS[cat] if x != "orange"], 3)
            odd = self.choose([x for x in CATS[other] if x != "orange"])
            l = ws + [odd]
            self.rng.shuffle(l)
            q = self.pick(
                "Which word does not belong: {l}?;Find the odd one out: {l}.;Which one is different: {l}?;~Which word does not fit in: {l}?",
                l=", ".join(l),
            )
            return q, f"The word {odd} does not belong.", cap(odd)
        return q, f"{cap(aw)} is {article(cat)}.", cap(cat)

    def examples(self):
        cat = self.choose(list(CATS))
        n = self.choose((2, 3))
        l = CATS[cat][:n]
        pl = {"piece of furniture": "pieces of furniture"}.get(cat, cat + "s")
        q = self.pick(
            "Name {n} {p}.;Give me {n} {p}.;List {n} {p}.;Tell me {n} {p}.;Give me a list of {n} {p}.;~I need the names of {n} {p}.",
            n=NUMW[n],
            p=pl,
        )
        return q, f"{cap(', '.join(l[:-1]))} and {l[-1]}.", cap(", ".join(l))

    def letters(self):
        w = self.choose([w for c in CATS for w in CATS[c]] + [n.lower() for n in NAMES])
        k = self.rng.randrange(4)
        if k == 0:
            q = self.pick(
                "What is the first letter of {w}?;Which letter does {w} start with?;First letter of {w}?;~With which letter does the word {w} begin?",
                w=w,
            )
            return q, f"The first letter of {w} is {w[0]}.", w[0].upper()
        if k == 1:
            q = self.pick(
                "What is the last letter of {w}?;Which letter does {w} end with?;Last letter of {w}?;~With which letter does the word {w} end?",
                w=w,
            )
            return q, f"The last letter of {w} is {w[-1]}.", w[-1].upper()
        if k == 2:
            q = self.pick(
                "Spell the word {w}.;Spell {w}.;How do you spell {w}?;~Please spell the word {w} for me.", w=w
            )
            return q, "-".join(w), "-".join(w)
        q = self.pick(
            "Write {w} in capital letters.;Write the word {w} in uppercase.;Put {w} in capitals.;~Please write {w} in big letters.",
            w=w,
        )
        return q, w.upper(), w.upper()

    def define(self):
        t, d = self.choose(DEFS)
        if self.rng.random() < 0.2:
            q = self.pick(
                "What do you call {d}?;What is the word for {d}?;Which word means {d}?;~How do we call {d}?", d=d
            )
            return q, f"That is {t}.", cap(t)
        q = self.pick(
            """What is {t}?;What's {t}?;Explain what {t} is.;Define {t}.;What does {b} mean?;Can you explain what {t} is?;Tell me what {t} is.;
            ~Give me a definition of {b}.;~I want to know what {t} is.""",
            t=t,
            b=t.split(" ", 1)[-1] if t.split()[0] in ("a", "an") else t,
        )
        return q, f"{cap(t)} is {d}.", cap(d)
