"""The synthetic chat corpus: a seeded generator. Every sentence in this package was written for this project.

A conversation is {"messages": [...], "cat": kind, "key": key}; the key stands in the last answer or, where it
begins with "=", is all of it. Phrasings marked "~" are held out: training never sees them.

The kinds of questions are methods of the classes here. Each returns (question, answer in a sentence, short
answer), or for the longer kinds (question, answer, key). In them q is the question, and the other short names
are those of the fields in the phrasings.
"""

import json

from .conversations import WEIGHTS, Conversations

__all__ = ["WEIGHTS", "Conversations", "evals", "train"]


def train(n, seed, weights=WEIGHTS):
    """Yields n conversations without held-out phrasings or combinations."""
    source = Conversations(seed, weights=weights)
    while n:
        messages, kind, key, _ = source.sample()
        if not source.hit:
            n -= 1
            yield dict(messages=messages, cat=kind, key=key)


def evals(n, seed=777, weights=WEIGHTS):
    """Yields n conversations, by turns with a held-out phrasing and with a held-out combination, all different
    and at most 8 of a kind each."""
    source, asked, count = Conversations(seed, weights=weights), set(), {}
    for i in range(n):
        unseen = ("phrasing", "combination")[i % 2]
        source.held = unseen == "phrasing"
        while True:
            messages, kind, key, held_phrasing = source.sample()
            fits = held_phrasing if source.held else source.hit and kind != "multi"
            question = json.dumps(messages[:-1])
            if fits and question not in asked and count.get((kind, unseen), 0) < 8:
                break
        asked.add(question)
        count[kind, unseen] = count.get((kind, unseen), 0) + 1
        yield dict(messages=messages, cat=kind, key=key, unseen=unseen)
