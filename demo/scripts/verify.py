"""Compares llama.cpp with the code here: tokens of 200 strings, log-probabilities, greedy answers.

    python3 verify.py [MODEL.gguf]
"""

import json
import random
import sys

import torch

from bpe import BPE
from llama_server import Server
from model import generate, load
from paths import BASE, EVAL

ODD = [
    "  two  spaces ", "tab\tand\n\nlines\r\n", "it's we'll I'D they've", "naïve café São Tomé", "日本語 и русский",
    "emoji 🙂!", "x=3.14; y_1 += 42", "1234567890", "", " ", "\n", "a" * 40,
]  # fmt: skip


def texts(rows):
    """140 texts of the evaluation set, the odd ones, and random characters."""
    rng = random.Random(1)
    out = [message["content"] for row in rows for message in row["messages"]][:140] + ODD
    while len(out) < 200:
        out.append("".join(rng.choice("abc XYZ 019 ,.!?'\"-_\n\téü€") for _ in range(30)))
    return [text for text in out if text]


def same_tokens(server, bpe, text):
    return server.post("/tokenize", content=text, add_special=False)["tokens"] == bpe.encode(text)


def compare(server, model, bpe, messages):
    """(largest difference among the five likeliest next tokens' log-probabilities, whether the answers agree)."""
    ids, _ = bpe.chat(messages, generate=True)
    prompt = server.post("/apply-template", messages=messages)["prompt"]
    tokens = server.post("/tokenize", content=prompt, add_special=False, parse_special=True)["tokens"]
    if tokens != ids:
        raise ValueError(f"the template gives other tokens: {prompt!r}")
    body = dict(prompt=ids, n_predict=1, temperature=0, n_probs=5, cache_prompt=False)
    likeliest = server.post("/completion", **body)["completion_probabilities"][0]["top_logprobs"]
    with torch.no_grad():
        ours = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
    worst = max(abs(token["logprob"] - ours[token["id"]].item()) for token in likeliest)
    answers = generate(model, bpe, messages, 160).strip(), server.chat(messages).strip()
    if answers[0] != answers[1]:
        print("PyTorch:", answers[0], "| llama.cpp:", answers[1])
    return worst, answers[0] == answers[1]


def main(path=BASE):
    torch.set_num_threads(2)
    bpe, model = BPE(), load(path)
    with open(EVAL) as f:
        rows = [json.loads(line) for line in f]
    with Server(path) as server:
        strings = texts(rows)
        different = [text for text in strings if not same_tokens(server, bpe, text)]
        print("tokens differ:", len(different), "of", len(strings), different[:3])
        results = [compare(server, model, bpe, row["messages"][:-1]) for row in rows[:40]]
    worst, same = max(w for w, _ in results), sum(s for _, s in results)
    print(f"worst difference of a log-probability {worst:.4f}; greedy answers identical {same}/{len(results)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
