"""Questions about numbers and order: sums, comparisons, sorting, counting."""

from .facts import CATS, ITEMS, NAMES, NUMW
from .phrasing import Phrasing, cap


class NumberQuestions(Phrasing):
    def arith(self):
        k = self.choose("++--*")
        r = self.rng
        hi = self.choose((10, 20, 50))
        a, b = (r.randint(1, 10), r.randint(1, 10)) if k == "*" else (r.randint(0, hi), r.randint(0, hi))
        if k == "-" and b > a:
            a, b = b, a
        v = {"+": a + b, "-": a - b, "*": a * b}[k]
        w = {"+": "plus", "-": "minus", "*": "times"}[k]
        q = self.pick(
            """What is {a} {w} {b}?;What is {a} {k} {b}?;{a} {k} {b};{a} {k} {b} = ?;How much is {a} {w} {b}?;Calculate {a} {k} {b}.;
            {a} {w} {b};How much is {a} {k} {b}?;What's {a} {w} {b}?;~Can you tell me what {a} {w} {b} is?;~Please compute {a} {k} {b}.""",
            a=a,
            b=b,
            w=w,
            k=k,
        )
        return q, f"{a} {w} {b} is {v}.", str(v)

    def compare(self):
        a, b = self.rng.sample(range(0, 100), 2)
        k = self.rng.randrange(3)
        if k == 0:
            q = self.pick(
                "Which number is larger, {a} or {b}?;Which is bigger, {a} or {b}?;What is more, {a} or {b}?;~Is {a} or {b} the larger number?",
                a=a,
                b=b,
            )
            return q, f"{max(a, b)} is larger than {min(a, b)}.", str(max(a, b))
        if k == 1:
            q = self.pick(
                "Which number is smaller, {a} or {b}?;What is less, {a} or {b}?;Which is smaller, {a} or {b}?;~Is {a} or {b} the smaller number?",
                a=a,
                b=b,
            )
            return q, f"{min(a, b)} is smaller than {max(a, b)}.", str(min(a, b))
        q = self.pick(
            "Is {a} larger than {b}?;Is {a} more than {b}?;Is {a} bigger than {b}?;~Would you say {a} is greater than {b}?",
            a=a,
            b=b,
        )
        return (
            q,
            f"Yes, {a} is larger than {b}." if a > b else f"No, {a} is smaller than {b}.",
            "Yes" if a > b else "No",
        )

    def story_sum(self):
        n = self.choose(NAMES)
        a, b = self.rng.randint(2, 20), self.rng.randint(1, 10)
        _, it = self.choose(ITEMS)
        if self.rng.random() < 0.5 and a > b:
            q = self.pick(
                """{n} has {a} {it} and gives away {b}. How many {it} are left?;{n} has {a} {it}. {n} loses {b} of them. How many {it} does {n} have now?;
                {n} had {a} {it} and sold {b}. How many remain?;~There are {a} {it}. {n} takes {b} away. How many {it} are left?""",
                n=n,
                a=a,
                b=b,
                it=it,
            )
            return q, f"{a} minus {b} is {a - b}, so {a - b} {it} are left.", str(a - b)
        q = self.pick(
            """{n} has {a} {it} and buys {b} more. How many {it} does {n} have?;{n} has {a} {it} and gets {b} more. How many {it} are there now?;
            There are {a} {it} on the table. {n} adds {b} more. How many {it} are there?;~{n} owns {a} {it} and finds {b} more. How many {it} is that in total?""",
            n=n,
            a=a,
            b=b,
            it=it,
        )
        return q, f"{a} plus {b} is {a + b}, so there are {a + b} {it}.", str(a + b)

    def sort(self):
        ws = [w for c in ("fruit", "vegetable", "animal", "tool", "vehicle", "instrument") for w in CATS[c]]
        l = self.rng.sample(sorted(set(ws)), 3)
        if self.rng.random() < 0.3:
            l = [str(x) for x in self.rng.sample(range(1, 60), 3)]
            s = sorted(l, key=int)
            q = self.pick(
                "Sort these numbers: {l};Put these numbers in order: {l};Order the numbers {l}.;~Please sort the numbers {l}.",
                l=", ".join(l),
            )
        else:
            s = sorted(l)
            q = self.pick(
                """Sort these words: {l};Put these words in alphabetical order: {l};Sort alphabetically: {l};Order the words {l}.;
                Sort the words {l}.;~Arrange these words by the alphabet: {l}""",
                l=", ".join(l),
            )
        return q, ", ".join(s), ", ".join(s)

    def count(self):
        ws = self.rng.sample(
            "the a red big old cat dog bird sings runs sleeps here now today fast and very happy small green house tree".split(),
            self.rng.randint(2, 8),
        )
        s = " ".join(ws)
        n = len(ws)
        q = self.pick(
            "How many words are in this text: {s};Count the words: {s};How many words: {s};How many words does this have? {s};~Tell me the number of words in: {s}",
            s=s,
        )
        return q, f"There are {NUMW[n]} words.", cap(NUMW[n])
