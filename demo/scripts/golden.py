"""The demo's adapters, trained in PyTorch on the F16 base and the first 200 examples of each set, and PyTorch's greedy answers with each of them.

    python3 golden.py train EPOCHS FOLDER KIND...    writes FOLDER/KIND as PEFT, and FOLDER/golden.json
    python3 golden.py check                          compares golden.json with the adapters in demo/adapters
"""

import json
import sys
import time
from pathlib import Path

import torch

import lora
from adapter_sets import SHIPPED
from bpe import BPE
from model import generate, load
from paths import ADAPTERS, DATA, GOLDEN

ATTENTION = ["q", "k", "v", "o"]
ALL = [*ATTENTION, "gate", "up", "down"]
VARIANTS = {
    "pirate": dict(rank=16, alpha=32, rslora=False, targets=ALL, rate=1e-3),
    "json": dict(rank=8, alpha=16, rslora=True, targets=ALL, rate=5e-4),
    "shout": dict(rank=4, alpha=8, rslora=False, targets=ATTENTION, rate=1e-3),
    "support": dict(rank=16, alpha=16, rslora=False, targets=ALL, rate=1e-3),
}
PROMPTS = [
    "What is the capital of France?",
    "What sound does a dog make?",
    "What is 12 plus 9?",
    "What is the opposite of hot?",
    "Who are you?",
    "Tell me a short story about a cat.",
    "Is a carrot a fruit or a vegetable?",
    "What day comes after Monday?",
    "What is the currency of Japan?",
    "Hello!",
    "When do you open?",
    "What is 6 times 7?",
]


def answers(model, bpe):
    return [dict(prompt=p, answer=generate(model, bpe, [dict(role="user", content=p)])) for p in PROMPTS]


def read(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def train(epochs, folder, *kinds):
    bpe, folder = BPE(), Path(folder)
    golden = {"base": answers(load(), bpe)}
    for kind in kinds:
        v = VARIANTS[kind]
        torch.manual_seed(0)
        model, start = load(), time.time()
        modules = lora.attach(model, v["targets"], v["rank"], lora.scale_of(v["rank"], v["alpha"], v["rslora"]))
        loss = lora.fit(model, bpe, read(DATA / f"{kind}.jsonl")[:SHIPPED], int(epochs), v["rate"])
        lora.save(folder / kind, modules, v["targets"], v["rank"], v["alpha"], v["rslora"])
        golden[kind] = answers(model, bpe)
        marks = lora.score(model, bpe, kind, read(DATA / f"{kind}.eval.jsonl"))
        print(f"{kind}: {time.time() - start:.0f} s, loss {loss:.3f}, {marks}", flush=True)
    with open(folder / "golden.json", "w") as f:
        json.dump(golden, f, indent=1, ensure_ascii=False)


def check():
    """Exits with an error where an answer differs."""
    bpe, different = BPE(), 0
    golden = json.loads(GOLDEN.read_text())
    for kind, expected in golden.items():
        model = load()
        if kind != "base":
            lora.load(ADAPTERS / kind, model)
        for want, got in zip(expected, answers(model, bpe), strict=True):
            if want != got:
                different += 1
                print(f"{kind}: {want['prompt']!r} gave {got['answer']!r}, golden is {want['answer']!r}")
    total = sum(map(len, golden.values()))
    print(f"{total - different} of {total} answers equal")
    sys.exit(different > 0)


if __name__ == "__main__":
    torch.set_num_threads(2)
    command, *rest = sys.argv[1:] or [""]
    if command not in ("train", "check"):
        sys.exit(__doc__)
    {"train": train, "check": check}[command](*rest)
