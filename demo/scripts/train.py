"""Trains the demo base.

    python3 train.py MINUTES OUT.pt                    the first phase
    python3 train.py MINUTES OUT.pt FROM.pt [RATE]     a further one: lower rate, more of the hard kinds

AdamW with a cosine over wall-clock time. Every pass draws a fresh corpus.
"""

import math
import random
import sys
import time

import torch
import torch.nn.functional as F

import corpus
from bpe import BPE
from model import Config, Model

OTHERS = 0.1  # the weight of the loss on tokens that are not the assistant's
HARD = dict(arith=20, compare=7, story_sum=9, sort=7, define=8, category=8, context=9, shop=6)
PASS = 30000  # conversations
SAVE_SECONDS = 180


def batches(documents, tokens, rng):
    """Whole conversations of similar lengths together, at most about tokens in a batch, in random order."""
    rng.shuffle(documents)
    out = []
    for i in range(0, len(documents), 16384):
        batch = []
        for document in sorted(documents[i : i + 16384], key=lambda d: len(d[0])):
            if batch and (len(batch) + 1) * len(document[0]) > tokens:
                out.append(batch)
                batch = []
            batch.append(document)
        out.append(batch)
    rng.shuffle(out)
    return out


def collate(batch, pad, others):
    """Inputs, targets and loss weights, right-padded; every conversation starts at position 0."""
    n = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [pad] * (n - len(ids)) for ids, _ in batch])
    weights = torch.tensor([[1.0 if m else others for m in mask] + [0.0] * (n - len(mask)) for _, mask in batch])
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]


def loss_of(model, batch, pad, others=OTHERS):
    """(weighted loss, mean loss on the assistant's tokens, number of tokens with a weight)."""
    x, y, weights = collate(batch, pad, others)
    with torch.cpu.amp.autocast(dtype=torch.bfloat16):
        logits = model(x)
    losses = F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view_as(weights)
    answers = weights == 1
    answer_loss = (losses * answers).sum().item() / max(1, answers.sum().item())
    return (losses * weights).sum() / weights.sum(), answer_loss, weights.gt(0).sum().item()


@torch.no_grad()
def held_out_loss(model, documents, pad):
    losses = [loss_of(model, documents[i : i + 50], pad)[1] for i in range(0, len(documents), 50)]
    return sum(losses) / len(losses)


def optimizer(model, rate):
    """AdamW that decays matrices only."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    groups = [dict(params=matrices, weight_decay=0.1), dict(params=others, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), foreach=True)


class Run:
    """One phase of training."""

    def __init__(self, minutes, out, source=None, rate=1e-3):
        self.seconds, self.out = 60 * float(minutes), out
        self.bpe, self.rng, self.model = BPE(), random.Random(0), Model()
        if source:
            self.model.load_state_dict(torch.load(source))
            self.rate, self.tokens, self.warmup, self.seed = float(rate), 4096, 40, 200
            self.weights = corpus.WEIGHTS | HARD
        else:
            self.rate, self.tokens, self.warmup, self.seed = 2.5e-3, 6144, 100, 0
            self.weights = corpus.WEIGHTS
        self.optimizer = optimizer(self.model, self.rate)
        self.held_out = [self.bpe.chat(c["messages"]) for c in corpus.evals(300, weights=self.weights)]
        self.step = self.seen = 0
        self.answer_loss = None
        self.start = self.saved = time.time()

    def train(self):
        while not self.one_pass(self.documents()):
            pass
        torch.save(self.model.state_dict(), self.out)
        loss = held_out_loss(self.model, self.held_out, self.bpe.eot)
        print(
            f"done: {self.step} steps, {self.seen/1e6:.2f}M tokens, answer loss {self.answer_loss:.4f}, held-out {loss:.4f}"
        )

    def documents(self):
        """The next pass's conversations as (ids, mask)."""
        drawn = (self.bpe.chat(c["messages"]) for c in corpus.train(PASS, self.seed, self.weights))
        documents = [document for document in drawn if len(document[0]) <= Config.context]
        print(f"seed {self.seed}: {sum(len(ids) for ids, _ in documents)} tokens", flush=True)
        self.seed += 1
        return documents

    def one_pass(self, documents):
        """Trains on each document once; True when the time is up."""
        for batch in batches(documents, self.tokens, self.rng):
            done = (time.time() - self.start) / self.seconds
            if done >= 1:
                return True
            cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * min(1, (self.step + 1) / self.warmup) * cosine
            self.update(batch)
            if self.step % 25 == 0:
                print(
                    f"{time.time() - self.start:6.0f}s step {self.step} tokens {self.seen/1e6:.2f}M"
                    f" answer loss {self.answer_loss:.4f}",
                    flush=True,
                )
            if time.time() - self.saved > SAVE_SECONDS:
                self.saved = time.time()
                torch.save(self.model.state_dict(), self.out)
                loss = held_out_loss(self.model, self.held_out, self.bpe.eot)
                print(f"        saved; held-out answer loss {loss:.4f}", flush=True)
        return False

    def update(self, batch):
        loss, answer_loss, tokens = loss_of(self.model, batch, self.bpe.eot)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.seen += tokens
        self.answer_loss = answer_loss if self.answer_loss is None else 0.98 * self.answer_loss + 0.02 * answer_loss


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    Run(*sys.argv[1:]).train()
