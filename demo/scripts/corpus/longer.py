"""Longer answers: instructions, stories and emails."""

from .facts import ANIMALS, DAYS, ITEMS, NAMES
from .phrases import HOWTO
from .phrasing import Phrasing, article, cap


class LongerAnswers(Phrasing):
    def howto(self):
        t, *st = self.choose(HOWTO)
        q = self.pick(
            """How do I {t}?;How can I {t}?;Explain how to {t}.;Tell me how to {t}.;How to {t}?;Give me steps to {t}.;What are the steps to {y}?;
            I want to {t}. What should I do?;~Can you tell me how I can {t}?;~I need instructions to {t}.""",
            t=t,
            y=t,
        )
        return q, "\n".join(f"{i}. {s}" for i, s in enumerate(st, 1)), st[-1]

    def story(self):
        choose = self.choose
        a = choose(ANIMALS)[0]
        n = choose(NAMES)
        n2 = choose([x for x in NAMES if x != n])
        adj = choose("small brave lazy clever shy happy curious hungry kind young old quiet".split())
        place = choose("forest;village;garden;castle;harbour;valley;city;farm;island;desert;school;market".split(";"))
        thing = choose("key;map;lamp;book;coin;hat;ball;drum;letter;ring;bell;boat".split(";"))
        col = choose("red blue green golden silver old tiny shiny".split())
        who = choose([a, choose("girl boy woman man baker farmer painter pilot".split())])
        if self.rng.random() < 0.7:
            q = self.pick(
                """Tell me a story about {w}.;Write a story about {w}.;Tell a short story about {w}.;I want a story about {w}.;Can you tell me a story about {w}?;
                A story about {w}, please.;Make up a story about {w}.;~Please write me a little story about {w}.;~Do you know a story about {w}?""",
                w=article(who),
            )
        else:
            q = self.pick(
                "Tell me a story.;Tell me a short story.;Write a short story.;I want to hear a story.;Can you tell me a story?;~Please tell me a little story."
            )
        s = [f"Once there was {article(adj)} {who} named {n}."]
        s += choose(
            [
                [f"{n} lived in a {place} and had {article(col + ' ' + thing)}.", f"One day the {thing} was gone."],
                [
                    f"One day {n} found {article(col + ' ' + thing)} in the {place}.",
                    f"{n} did not know who had lost it.",
                ],
                [f"{n} wanted to find {article(col + ' ' + thing)}.", f"So {n} went to the {place}."],
                [
                    f"Every morning {n} walked through the {place}.",
                    f"One day there was {article(col + ' ' + thing)} on the road.",
                ],
            ]
        )
        s += choose(
            [
                [f"A friend called {n2} came to help."],
                [f"{n} asked {n2} for help."],
                [f"Then {n2} came by and had a good idea."],
            ]
        )
        s += choose(
            [
                [f"Together they found the answer and shared the {thing}."],
                ["In the end they were both happy."],
                ["They looked everywhere and laughed a lot.", f"From that day on, {n} and {n2} were friends."],
                [f"At night {n} went home and slept well."],
            ]
        )
        return q, " ".join(s), "Once there was"

    def email(self):
        n, n2 = self.rng.sample(NAMES, 2)
        d = self.choose(DAYS)
        it = self.choose(ITEMS)[0]
        top, body = self.choose(
            [
                (
                    f"to invite {n} to dinner on {d}",
                    f"I would like to invite you to dinner on {d}. Please tell me if you can come.",
                ),
                (f"to thank {n} for the {it}", f"thank you very much for the {it}. I like it a lot."),
                (f"to tell {n} that the meeting is on {d}", f"the meeting is on {d}. Please be on time."),
                (f"to ask {n} for the {it}", f"could you please send me the {it}? I need it on {d}."),
                (f"to say sorry to {n}", "I am very sorry for my mistake. It will not happen again."),
            ]
        )
        q = self.pick(
            "Write an email {t}.;Write a short email {t}.;Write a message {t}.;Help me write an email {t}.;~Please draft a short mail {t}.",
            t=top,
        )
        return q, f"Dear {n},\n{cap(body)}\nBest regards", body
