"""Byte-level BPE in the GPT-2 style: trainer, encoder, decoder, and the ChatML format.

    python3 bpe.py CORPUS.jsonl 2048 tokenizer.json
"""

import collections
import json
import re
import sys

from paths import TOKENIZER

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# GPT-2's pre-tokenisation for Python's re: \p{L} is [^\W\d_], \p{N} is \d.
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {**{b: chr(b) for b in keep}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}


def to_chars(text):
    return "".join(BYTE_TO_CHAR[b] for b in text.encode())


def has_digit(pair):
    return any("0" <= char <= "9" for char in pair[0] + pair[1])


def train(texts, vocab):
    """The merges, most frequent pair first; digits stay single tokens."""
    words = collections.Counter(word for text in texts for word in SPLIT.findall(text))
    sequences = [(list(to_chars(word)), count) for word, count in words.items()]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (tokens, count) in enumerate(sequences):
        for pair in zip(tokens, tokens[1:]):
            pairs[pair] += count
            where[pair].add(i)
    merges = []
    while len(merges) < vocab - 256 - len(SPECIALS):
        candidates = (pair for pair in pairs if pairs[pair] > 1 and not has_digit(pair))
        best = max(candidates, key=lambda pair: (pairs[pair], pair), default=None)
        if not best:
            break
        merges.append(best)
        for i in list(where[best]):
            tokens, count = sequences[i]
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] -= count
            tokens = merge(tokens, best)
            sequences[i] = (tokens, count)
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] += count
                where[pair].add(i)
    return merges


def merge(tokens, pair):
    """The tokens with every occurrence of the pair made one."""
    out, i = [], 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(tokens[i])
            i += 1
    return out


class BPE:
    """Token ids: 256 bytes, the merges, then the specials."""

    def __init__(self, path=TOKENIZER):
        with open(path) as f:
            self.merges = [tuple(pair) for pair in json.load(f)["merges"]]
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.tokens = [BYTE_TO_CHAR[b] for b in range(256)] + [a + b for a, b in self.merges] + SPECIALS
        self.id = {token: i for i, token in enumerate(self.tokens)}
        self.eot, self.start, self.end = (self.id[special] for special in SPECIALS)
        self.cache = {}

    def word(self, word):
        if word not in self.cache:
            tokens, never = list(to_chars(word)), len(self.rank)
            while len(tokens) > 1:
                rank, i = min((self.rank.get(pair, never), i) for i, pair in enumerate(zip(tokens, tokens[1:])))
                if rank == never:
                    break
                tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
            self.cache[word] = [self.id[token] for token in tokens]
        return self.cache[word]

    def encode(self, text):
        """Text only: specials in it are not read as such."""
        return [token for word in SPLIT.findall(text) for token in self.word(word)]

    def decode(self, ids):
        def raw(token):
            return token.encode() if token in SPECIALS else bytes(CHAR_TO_BYTE[char] for char in token)

        return b"".join(raw(self.tokens[i]) for i in ids).decode(errors="replace")

    def chat(self, messages, generate=False):
        """ChatML: token ids, and a mask that is 1 on the assistant's own tokens up to <|im_end|>."""
        ids, mask, newline = [], [], self.encode("\n")
        for message in messages:
            head = [self.start] + self.encode(message["role"] + "\n")
            body = self.encode(message["content"]) + [self.end]
            ids += head + body + newline
            mask += [0] * len(head) + [int(message["role"] == "assistant")] * len(body) + [0] * len(newline)
        if generate:
            ids += [self.start] + self.encode("assistant\n")
            mask += [0] * (len(ids) - len(mask))
        return ids, mask


def main(source, vocab, target):
    with open(source) as f:
        texts = [message["content"] for line in f for message in json.loads(line)["messages"]]
    texts += ["system\n", "user\n", "assistant\n"] * 1000
    merges = train(texts, int(vocab))
    with open(target, "w") as f:
        json.dump({"merges": merges}, f, ensure_ascii=False)
    bpe, sample = BPE(target), texts[:20000]
    tokens = sum(len(bpe.encode(text)) for text in sample)
    print(len(bpe.tokens), "tokens,", sum(map(len, sample)) / tokens, "characters per token")


if __name__ == "__main__":
    main(*sys.argv[1:])
