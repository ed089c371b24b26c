#!/usr/bin/env python3
"""LoRA training in PyTorch on the CPU: what bench/train is compared with.

One dense llama-shaped model of random weights, LoRA on its seven linear layers, cross-entropy on every
token, AdamW, clipping. Written the way a careful user would: bfloat16 weights, no copies, attention through
one masked softmax, torch's own checkpointing. Prints one line of JSON.

Needs torch (Debian: python3-torch and libopenblas0-pthread).
"""
import argparse
import json
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

LORA_SCALE = 2.0


class LoraLinear(nn.Module):
    """A frozen weight and its adapter; A and B stay float32, as PEFT keeps them."""

    def __init__(self, n_in, n_out, rank, dtype):
        super().__init__()
        self.weight = nn.Parameter((torch.randn(n_out, n_in) / math.sqrt(n_in)).to(dtype), requires_grad=False)
        self.a = nn.Parameter((torch.rand(rank, n_in) * 2 - 1) / math.sqrt(n_in))
        self.b = nn.Parameter(torch.zeros(n_out, rank))

    def forward(self, x):
        low = F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))
        return F.linear(x, self.weight) + low * LORA_SCALE


class RMSNorm(nn.Module):
    def __init__(self, n, dtype):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n, dtype=dtype), requires_grad=False)

    def forward(self, x):
        f = x.float()
        return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * self.weight


class Layer(nn.Module):
    def __init__(self, o, dtype):
        super().__init__()
        self.heads, self.kv_heads, self.size = o.heads, o.kv_heads, o.head_size
        q, kv = o.heads * o.head_size, o.kv_heads * o.head_size

        def linear(n_in, n_out):
            return LoraLinear(n_in, n_out, o.rank, dtype)

        self.q, self.k, self.v, self.o = linear(o.embedding, q), linear(o.embedding, kv), linear(o.embedding, kv), linear(q, o.embedding)
        self.gate, self.up = linear(o.embedding, o.feed_forward), linear(o.embedding, o.feed_forward)
        self.down = linear(o.feed_forward, o.embedding)
        self.norm1, self.norm2 = RMSNorm(o.embedding, dtype), RMSNorm(o.embedding, dtype)

    def turn(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, h, cos, sin, mask):
        t = h.shape[0]
        x = self.norm1(h)
        q = self.turn(self.q(x).view(t, self.heads, self.size).transpose(0, 1), cos, sin)
        k = self.turn(self.k(x).view(t, self.kv_heads, self.size).transpose(0, 1), cos, sin)
        v = self.v(x).view(t, self.kv_heads, self.size).transpose(0, 1)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        p = torch.softmax(q @ k.transpose(1, 2) * self.size**-0.5 + mask, -1)
        h = h + self.o((p @ v).transpose(0, 1).reshape(t, -1))
        x = self.norm2(h)
        return h + self.down(F.silu(self.gate(x)) * self.up(x))


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in dict(embedding=1024, layers=24, heads=16, kv_heads=4, head_size=64, feed_forward=3072, vocab=32000,
                            tokens=512, rank=16, threads=2, steps=3).items():
        p.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    p.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    p.add_argument("--checkpoint", action="store_true", help="compute activations again in the backward pass")
    return p.parse_args()


def main():
    o = parse()
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    dtype = getattr(torch, o.dtype)
    layers = nn.ModuleList([Layer(o, dtype) for _ in range(o.layers)])
    embedding = torch.randn(o.vocab, o.embedding).to(dtype)
    head = (torch.randn(o.vocab, o.embedding) / math.sqrt(o.embedding)).to(dtype)
    norm = RMSNorm(o.embedding, dtype)
    angle = torch.arange(o.tokens)[:, None] * 10000 ** (-torch.arange(0, o.head_size, 2) / o.head_size)[None]
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    mask = torch.full((o.tokens, o.tokens), float("-inf")).triu(1).to(dtype)
    parameters = [p for p in layers.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-3)
    tokens, labels = torch.randint(0, o.vocab, (o.tokens,)), torch.randint(0, o.vocab, (o.tokens,))

    def step():
        h = embedding[tokens]
        h.requires_grad_(o.checkpoint)  # checkpoint() needs an input with a gradient
        for layer in layers:
            h = checkpoint(layer, h, cos, sin, mask) if o.checkpoint else layer(h, cos, sin, mask)
        loss = F.cross_entropy(F.linear(norm(h), head).float(), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()  # the first one warms up
    times = []
    for _ in range(o.steps):
        wall, cpu = time.time(), time.process_time()
        step()
        times.append((time.time() - wall, time.process_time() - cpu))
    print(json.dumps({
        "torch": torch.__version__,
        "seconds": sorted(w for w, _ in times),
        "cpu_seconds": sorted(c for _, c in times),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
