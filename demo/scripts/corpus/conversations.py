"""Whole conversations: single questions, memory over turns, follow-ups, system prompts, output formats."""

import json
import zlib

from .facts import ADJ, ANIMALS, CATS, CITIES, COUNTRIES, NAMES, OPPOSITES, PAST, PLURALS
from .longer import LongerAnswers
from .numbers import NumberQuestions
from .phrasing import cap, the
from .talk import TalkQuestions
from .texts import TextQuestions
from .words import WordQuestions
from .world import WorldQuestions

# How often each kind of single question is asked, relative to the others.
WEIGHTS = dict(
    capital=9, capital_of=4, is_capital=4, continent=4, currency=6, language=5, animal=6, opposite=4,
    synonym=2, plural=3, past=3, colour=4, calendar=4, arith=11, compare=3, story_sum=4, category=6,
    examples=1, sort=4, letters=5, count=2, define=6, misc=6, shop=5, identity=5, smalltalk=4, unknown=4,
    cannot=2, sentiment=4, intent=4, extract=6, context=7,
)  # fmt: skip

# The kinds whose exact questions combine freely: some of their combinations are never trained on.
COMBINABLE = set(
    """capital capital_of is_capital continent currency language opposite plural past arith compare
    story_sum sort count extract context sentiment intent memory follow""".split()
)


def held_out(question, kind):
    """5 % of the exact questions of the combinable kinds are never trained on."""
    return kind in COMBINABLE and zlib.crc32(question.lower().encode()) % 20 == 0


def chat(turns, system=None):
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


class Conversations(WorldQuestions, WordQuestions, NumberQuestions, TalkQuestions, TextQuestions, LongerAnswers):
    """Draws whole conversations. weights says how often each kind of single question is asked."""

    def __init__(self, seed, held=False, weights=WEIGHTS):
        super().__init__(seed, held)
        self.weights = weights
        self.hit = False  # whether a question met held_out

    def sample(self):
        """One conversation: (messages, kind, key, whether a held-out phrasing was used)."""
        self.hit = False
        p = self.rng.random()
        if p < 0.10:
            kind = "memory" if p < 0.05 else "follow"
            turns, key = getattr(self, kind)()
            self.hit |= held_out(str(turns), kind)
            return chat(turns), kind, key, self.unseen
        if p < 0.13:
            turns = []
            for _ in range(self.choose((2, 2, 3, 3, 4, 6, 12))):
                question, answer, key = self.single()
                turns.append((question, answer))
            return chat(turns), "multi", key, self.unseen
        if p < 0.19:
            kind = self.rng.choices(("story", "howto", "email"), (4, 3, 1))[0]
            question, answer, key = getattr(self, kind)()
            return chat([(self.noise(question) if kind != "email" else question, answer)]), kind, key, self.unseen
        return self.styled()

    def single(self, kind=None):
        """One question: (question, answer in a sentence, short answer)."""
        _, question, answer, short = self.ask(kind)
        return question, answer, short.lstrip("=")

    def ask(self, kind=None):
        """Like single, with the kind first; a short answer that begins with "=" is all that is right."""
        kind = kind or self.rng.choices(list(self.weights), self.weights.values())[0]
        question, answer, short = getattr(self, kind)()
        self.hit |= held_out(question, kind)
        return kind, question, answer, short

    # ---- one question, with noise and perhaps a system prompt that styles the answer ----------------------

    VERBATIM = {"extract", "context", "sentiment", "intent", "letters", "sort", "count", "smalltalk"}
    UNSTYLED = {"smalltalk", "extract", "sentiment", "intent", "letters", "sort"}

    def styled(self):
        kind, question, answer, short = self.ask()
        unseen, key, short = self.unseen, short, short.lstrip("=")
        if kind == "smalltalk" and self.rng.random() < 0.5:
            key = "=" + answer
        if kind not in self.VERBATIM:
            question = self.noise(question)
        p = self.rng.random()
        if p < 0.07:
            return chat([(question, answer)], self.pick(self.NEUTRAL)), kind, key, unseen
        if kind not in self.UNSTYLED:
            if p < 0.17:
                return chat([(question, short)], self.pick(self.BRIEF)), kind, "=" + short, unseen
            if p < 0.20:
                return chat([(self.ask_briefly(question), short)]), kind, "=" + short, unseen
            if p < 0.26:
                system, answer, key = self.begin_or_end(answer, begin=p >= 0.23)
                return chat([(question, answer)], system), kind, key, unseen
            if 0.31 <= p < 0.36:
                system, answer = self.form(question, answer, short)
                return chat([(question, answer)], system), kind, key, unseen
        if p < 0.28:
            return self.persona()
        if p < 0.31:
            return self.told_by_system() or (chat([(question, answer)]), kind, key, unseen)
        return chat([(question, answer)]), kind, key, unseen

    BRIEF = """Answer in one word.;Be brief.;Answer with the answer only.;Give only the answer, no sentence.;
        Keep your answers short.;Use as few words as possible.;Reply with one word.;Give short answers.;
        ~Answer with a single word.;~Be very short."""
    NEUTRAL = """You are a helpful assistant.;You are Lorikeet, a tiny demo model.;You are a friendly assistant.;
        Answer the question.;Answer in a full sentence.;Be polite and helpful.;~You are an assistant that helps people."""

    # Where the noise stands: first what comes before a question, then what comes after it.
    OPENINGS = (
        "Please tell me: ", "Quick question: ", "Hey Lorikeet, ", "Question: ", "Hi! ", "I have a question. ",
        "Hello, ", "Just wondering: ", "My friend asks: ", "Help me here: ", "One more thing. ", "So, ", "Okay. ",
        "I would like to know this: ", "Tell me please, ", "I forgot something. ", "For my homework: ",
        "Next question: ",
    )  # fmt: skip
    CLOSINGS = (" Please answer.", " Thanks!", " Thank you.", " Do you know?", " I need to know.", " Any idea?")

    def noise(self, question):
        """The question as people type it."""
        if self.rng.random() < 0.12:
            question = question.rstrip("?.")
        if self.rng.random() < 0.12:
            question = question[0].lower() + question[1:]
        if self.rng.random() < 0.14:
            return self.choose(self.OPENINGS) + question
        if self.rng.random() < 0.06:
            return question + self.choose(self.CLOSINGS)
        return question

    def ask_briefly(self, question):
        """The question with the wish for a short answer before or after it."""
        wish = self.pick(
            """Answer in one word.;Be brief.;Only the answer, please.;One word, please.;Short answer, please.;
            ~Answer briefly."""
        )
        return question + " " + wish if self.rng.random() < 0.6 else wish + " " + question

    def begin_or_end(self, answer, begin):
        """A system prompt that asks for certain first or last words: (system, answer, the words)."""
        name, word = self.choose(NAMES), cap(self.word())
        if begin:
            words = self.choose(
                ("Sure!", "Of course!", "Dear customer,", "Good question!", f"Hello {name}!", f"{word}!")
            )
            system = """Always start with: {e};Start every answer with: {e};Begin your answers with: {e};
                ~The first words of each answer must be: {e}"""
            return self.pick(system, e=words), f"{words} {answer}", words
        words = self.choose(
            ("Anything else?", "Have a nice day!", "I hope this helps.", "Over and out.", f"Yours, {name}.", f"{word}!")
        )
        system = """Always end with: {e};End every answer with: {e};Finish your answers with: {e};
            ~At the end of an answer, always say: {e}"""
        return self.pick(system, e=words), f"{answer} {words}", words

    BRACKETS = (
        ("[", "]"), ("(", ")"), ("{", "}"), ("<", ">"), ("*", "*"), ('"', '"'), ("'", "'"), ("_", "_"), ("#", "#"),
        ("- ", ""), ("> ", ""),
    )  # fmt: skip

    def form(self, question, answer, short):
        """A system prompt that asks for an output format, and the answer in it: (system, answer)."""
        key = self.choose("answer reply result text value response output".split())
        left, right = self.choose(self.BRACKETS)
        kind = self.rng.randrange(6)
        if kind == 0:
            system = """Answer in capital letters.;Write everything in capitals.;Use only capital letters.;
                ~Please shout your answers."""
            return self.pick(system), answer.upper()
        if kind == 1:
            system = """Answer as JSON with the key {k}.;Reply in JSON, key {k}.;
                Give a JSON object with one field, {k}.;~Use JSON for the answer, under the key {k}."""
            return self.pick(system, k=key), json.dumps({key: self.choose((answer, short))}, ensure_ascii=False)
        if kind == 2:
            system = "Write the answer as {k}: and the value.;Format: {k}: value.;Answer like this: {k}: value"
            return self.pick(system, k=key), f"{key}: {short}"
        if kind == 3:
            return (
                self.pick("Answer in lower case.;Use only small letters.;No capital letters, please."),
                answer.lower(),
            )
        if kind == 4:
            system = "Put the answer between {o} and {e}.;Wrap the answer in {o}{e}.;Answer inside {o} {e}."
            return self.pick(system, o=left, e=right or "a new line"), f"{left}{answer}{right}"
        system = "Answer as JSON with the keys question and answer.;Reply in JSON with question and answer."
        return self.pick(system), json.dumps({"question": question, "answer": short}, ensure_ascii=False)

    def persona(self):
        """The system prompt gives the model a name, and the user asks for it."""
        name = self.choose(NAMES) if self.rng.random() < 0.7 else cap(self.word())
        question = self.pick("What is your name?;Who are you?;What are you called?;Tell me your name.")
        system = self.pick("Your name is {n}.;You are {n}, a helpful assistant.;You are called {n}.", n=name)
        return chat([(question, f"My name is {name}.")], system), "persona", name, False

    def told_by_system(self):
        """The system prompt holds the text that the user asks about; None where the text drawn has no question."""
        question, answer, short = self.context()
        self.hit |= held_out(question, "context")
        *text, question = question.replace("Repeat after me: ", "").split(". ")
        if not text or not question.endswith("?"):
            return None
        return chat([(question, answer)], ". ".join(text) + "."), "syscontext", short.lstrip("="), False

    # ---- several turns that hang together: ([(user, assistant), ...], key) --------------------------------

    def memory(self):
        """The user says something personal, asks something else, then asks for what was said."""
        told = self.rng.sample(self.personal(), self.choose((1, 1, 2)))
        turns = [(self.pick(says, x=x), cap(reply.format(x=x))) for says, x, reply, _, _ in told]
        for _ in range(self.choose((0, 0, 1, 2))):
            turns.append(self.single()[:2])
        if self.rng.random() < 0.3 and len(told) == 1:  # all in one message
            says, x, _, asks, answer = told[0]
            return [(self.pick(says, x=x) + " " + self.pick(asks), answer.format(x=x))] + turns[1:], x
        _, x, _, asks, answer = self.choose(told)
        turns.append((self.pick(asks), answer.format(x=x)))
        return turns, x

    def personal(self):
        """What a user may say of himself: (phrasings, x, reply, phrasings that ask for x, answer)."""
        name = self.choose(NAMES) if self.rng.random() < 0.7 else cap(self.word())
        city = self.choose(CITIES) if self.rng.random() < 0.7 else cap(self.word())
        pet = self.choose([animal[0] for animal in ANIMALS[:12]])
        pet_name = cap(self.word())
        colour = self.choose(ADJ[:11])
        job = self.choose(CATS["job"])
        self.choose(CATS["fruit"])  # used by nothing, but the draws of a seed stay what they were
        return [
            (
                """My name is {x}.;I am {x}.;I'm {x}.;Hi, I am {x}.;Hello, my name is {x}.;People call me {x}.;
                ~Hi! You can call me {x}.""",
                name,
                "Nice to meet you, {x}.",
                """What is my name?;Do you remember my name?;Who am I?;How am I called?;Tell me my name.;
                ~Can you tell me what my name is?""",
                "Your name is {x}.",
            ),
            (
                "I live in {x}.;I am from {x}.;My home is in {x}.;~My city is {x}.",
                city,
                "{x} sounds like a nice place.",
                """Where do I live?;Which city do I live in?;Do you remember where I live?;
                ~In which city is my home?""",
                "You live in {x}.",
            ),
            (
                f"I have a {pet} called {{x}}.;My {pet} is called {{x}}.;The name of my {pet} is {{x}}.",
                pet_name,
                f"{{x}} is a nice name for a {pet}.",
                f"""What is my {pet} called?;What is the name of my {pet}?;Do you remember the name of my {pet}?;
                ~How is my {pet} called?""",
                f"Your {pet} is called {{x}}.",
            ),
            (
                "My favourite colour is {x}.;I like {x} most of all colours.;~The colour I like most is {x}.",
                colour,
                "{x} is a nice colour.",
                "What is my favourite colour?;Which colour do I like?;~Do you remember my favourite colour?",
                "Your favourite colour is {x}.",
            ),
            (
                "I am a {x}.;I work as a {x}.;My job is {x}.",
                job.replace("engineer", "baker"),
                "Being a {x} sounds interesting.",
                "What is my job?;What do I do for work?;Do you remember my job?;~What do I work as?",
                "You are a {x}.",
            ),
        ]

    def follow(self):
        """Follow-ups that only make sense after the first question, such as "And of Spain?"."""
        kind = self.rng.randrange(4)
        if kind < 2:
            return self.follow_countries()
        if kind == 2:
            return self.follow_words()
        return self.follow_there()

    def follow_countries(self):
        """The same question about another country."""
        field, answer = self.choose(
            [
                (1, "The capital of {c} is {v}."),
                (3, "The currency of {c} is the {v}."),
                (4, "The main language of {c} is {v}."),
                (2, "{C} is in {v}."),
            ]
        )
        first = {
            1: "What is the capital of {c}?;Name the capital of {c}.",
            2: "On which continent is {c}?;Where is {c}?",
            3: "What is the currency of {c}?;Which currency is used in {c}?",
            4: "What language is spoken in {c}?;What is the main language of {c}?",
        }[field]
        then = "And {c}?;And of {c}?;What about {c}?;And for {c}?;How about {c}?;~And what about {c}?"
        countries = self.rng.sample(COUNTRIES, self.choose((2, 3)))
        turns = []
        for country in countries:
            name = the(country[0])
            question = self.pick(then if turns else first, c=name)
            turns.append((question, cap(answer.format(c=name, C=cap(name), v=country[field]))))
        return turns, countries[-1][field]

    def follow_words(self):
        """The same question about another word."""
        words, first, answer = self.choose(
            [
                (OPPOSITES, "What is the opposite of {a}?", "The opposite of {a} is {b}."),
                (PLURALS, "What is the plural of {a}?", "The plural of {a} is {b}."),
                (PAST, "What is the past tense of {a}?", "The past tense of {a} is {b}."),
            ]
        )
        then = "And {a}?;And of {a}?;What about {a}?;~And what about {a}?"
        turns = []
        for a, _ in self.rng.sample(words, self.choose((2, 3))):
            b = next(y for x, y in words if x == a)  # the first pair, where a word has several
            turns.append((self.pick(then if turns else first, a=a), answer.format(a=a, b=b)))
        return turns, b

    def follow_there(self):
        """Another question about the same country."""
        country = self.choose(COUNTRIES)
        name, capital, continent, currency, language = the(country[0]), *country[1:]
        others = [
            (
                "What is its currency?;Which currency is used there?;And the currency?",
                f"The currency of {name} is the {currency}.",
                currency,
            ),
            (
                "What language is spoken there?;What do people speak there?;And the language?",
                f"The main language of {name} is {language}.",
                language,
            ),
            ("On which continent is it?;Where is it?;And the continent?", f"{cap(name)} is in {continent}.", continent),
        ]
        question = self.pick("What is the capital of {c}?;Name the capital of {c}.", c=name)
        turns = [(question, f"The capital of {name} is {capital}.")]
        for phrasings, answer, key in self.rng.sample(others, self.choose((1, 2))):
            turns.append((self.pick(phrasings), answer))
        return turns, key
