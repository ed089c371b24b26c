"""Questions about a text that is given: its sentiment, its intent, what it says."""

from .facts import ADJ, CATS, CITIES, DAYS, ITEMS, NAMES
from .phrasing import Phrasing, article, cap


class TextQuestions(Phrasing):
    def sentiment(self):
        it, its = self.choose(ITEMS)
        n = self.choose(NAMES)
        pos = """I love this {it}.;The {it} is great.;This is the best {it} I ever had.;Very happy with my {it}.;The {its} look beautiful and work well.;
            Fast delivery and a lovely {it}.;Great service, thank you!;{n} was very helpful.;I will buy here again.;The {it} is perfect.;~My {it} is wonderful.;~What a nice {it}!"""
        neg = """I hate this {it}.;The {it} is bad.;This is the worst {it} I ever had.;The {it} broke after one day.;The {its} arrived late and dirty.;
            Very slow delivery and an ugly {it}.;Terrible service.;{n} was very rude.;I will never buy here again.;The {it} does not work.;~My {it} is awful.;~What a horrible {it}!"""
        neu = """The {it} is on the table.;I ordered a {it} on {d}.;The {it} has two colours.;The shop sells {its}.;{n} has a {it}.;The box contains a {it}.;~There is a {it} in the room."""
        lab = self.choose(("positive", "positive", "negative", "negative", "neutral"))
        t = self.pick({"positive": pos, "negative": neg, "neutral": neu}[lab], it=it, its=its, n=n, d=self.choose(DAYS))
        u = self.unseen
        q = self.pick(
            """Is this text positive, negative or neutral? {t};Classify the sentiment: {t};What is the sentiment of this message? {t};Sentiment: {t};
            Classify as positive, negative or neutral: {t};~Decide if this is positive, negative or neutral: {t}""",
            t=t,
        )
        self.unseen |= u
        return q, lab, "=" + lab

    def intent(self):
        it, its = self.choose(ITEMS)
        d = self.choose(DAYS)
        I = {
            "refund": "I want my money back for the {it}.;Please refund my {it}.;I sent the {it} back and want a refund.;When do I get my money back?;~Give me back the money for my {it}.",
            "shipping": "Where is my {it}?;My {it} has not arrived.;When will my {its} be delivered?;I ordered a {it} on {d} and it is not here.;~I am still waiting for my {it}.",
            "complaint": "The {it} is broken.;My {it} arrived damaged.;I am not happy with the {it}.;This {it} is of bad quality.;~The {it} fell apart.",
            "cancel": "Please cancel my order.;I want to cancel the {it}.;Stop my order of {its}.;I do not want the {it} any more, please cancel it.;~Cancel the {its} I ordered.",
            "price": "How much is the {it}?;What does a {it} cost?;What is the price of the {its}?;Is the {it} expensive?;~Tell me how much the {it} costs.",
            "login": "I forgot my password.;I cannot log in.;My account is locked.;The login page does not work.;~I can not get into my account.",
            "praise": "Thank you for the lovely {it}!;I love the {it}.;Great shop!;The {it} is perfect, thanks.;~What a great {it}, thank you!",
        }
        lab = self.choose(list(I))
        t = self.pick(I[lab], it=it, its=its, d=d)
        u = self.unseen
        q = self.pick(
            """Classify the intent: {t};What is the intent of this message? {t};Intent: {t};What does the customer want? {t};
            Give the intent of the customer: {t};~Name the intent of the following message: {t}""",
            t=t,
        )
        self.unseen |= u
        return q, lab, "=" + lab

    def extract(self):
        it, its = self.choose(ITEMS)
        a = self.choose(ADJ)
        n = self.choose(NAMES)
        d = self.choose(DAYS)
        k = self.rng.randint(2, 30)
        if self.rng.random() < 0.2:
            n = cap(self.word())
        t = self.pick(
            """Order {k} {a} {its} for {n} by {d}.;{n} needs {k} {a} {its} by {d}.;Please send {k} {a} {its} to {n} before {d}.;
            {n} wants to buy {k} {a} {its}. They must arrive by {d}.;By {d} we need {k} {a} {its} for {n}.;~Can you deliver {k} {a} {its} to {n} until {d}?""",
            k=k,
            a=a,
            its=its,
            n=n,
            d=d,
        )
        u = self.unseen
        m = self.rng.randrange(4)
        if m < 2:
            q = self.pick(
                "Extract the order: {t};Extract the data: {t};Extract item, quantity, customer and due date: {t};List the order details: {t};~Pull out the order details: {t}",
                t=t,
            )
            s = f"item: {a} {it}, quantity: {k}, customer: {n}, due: {d}"
            self.unseen |= u
            return q, s, "=" + s
        f, v, s = self.choose(
            [
                ("who is the customer", n, f"The customer is {n}."),
                ("how many {its} are needed", k, f"{k} {its} are needed."),
                ("when is it due", d, f"It is due on {d}."),
                ("which colour or size is it", a, f"It is {a}."),
                ("what is ordered", its, f"{k} {a} {its} are ordered."),
            ]
        )
        self.unseen |= u
        return f"{t} {cap(f.format(its=its))}?", s, cap(str(v))

    def context(self):
        n, n2 = self.rng.sample(NAMES, 2)
        it, it2 = self.rng.sample([x[0] for x in ITEMS], 2)
        a, a2 = self.rng.sample(ADJ[:11], 2)
        city = self.choose(CITIES)
        job = self.choose(CATS["job"])
        k = self.rng.randrange(5)
        w = self.word()
        if k == 0:
            t = f"{n} has a {a} {it}. {n2} has a {a2} {it2}."
            return self.choose(
                [
                    (f"{t} What does {n2} have?", f"{n2} has a {a2} {it2}.", cap(f"{a2} {it2}")),
                    (f"{t} Who has the {it}?", f"{n} has the {it}.", n),
                    (f"{t} What colour is the {it2}?", f"The {it2} is {a2}.", cap(a2)),
                    (f"{t} What does {n} have?", f"{n} has a {a} {it}.", cap(f"{a} {it}")),
                ]
            )
        if k == 1:
            t = self.choose(
                [
                    f"{n} lives in {city} and works as {article(job)}.",
                    f"{n} is {article(job)} from {city}.",
                    f"My friend {n} is {article(job)}. {n} lives in {city}.",
                ]
            )
            return self.choose(
                [
                    (f"{t} Where does {n} live?", f"{n} lives in {city}.", city),
                    (f"{t} What is the job of {n}?", f"{n} is {article(job)}.", cap(job)),
                    (f"{t} Who lives in {city}?", f"{n} lives in {city}.", n),
                ]
            )
        if k == 2:
            x = self.choose(("code", "password", "secret word", "name of the project", "name of my cat"))
            y = x.replace("my", "your")
            q = self.pick(
                "The {x} is {w}. What is the {x}?;Remember: the {x} is {w}. What is the {x}?;~Here is a fact: the {x} is {w}. Now tell me, what is the {x}?",
                x=x,
                w=w,
            )
            return q, f"The {y} is {w}.", w
        if k == 3:
            s = self.choose([f"{n} likes {w}", w, f"the {a} {it}", f"{a} {it} and {a2} {it2}", f"good morning {n}"])
            q = self.pick(
                "Repeat after me: {s};Repeat this: {s};Say: {s};Please repeat: {s};~Can you repeat this? {s}", s=s
            )
            return q, s, "=" + s
        h, h2 = self.rng.randint(6, 11), self.rng.randint(2, 9)
        p = self.choose(("shop", "library", "museum", "bank", "school", "office"))
        t = self.choose([f"The {p} opens at {h} and closes at {h2}.", f"The {p} is open from {h} to {h2}."])
        return self.choose(
            [
                (f"{t} When does the {p} open?", f"The {p} opens at {h}.", str(h)),
                (f"{t} When does the {p} close?", f"The {p} closes at {h2}.", str(h2)),
            ]
        )
