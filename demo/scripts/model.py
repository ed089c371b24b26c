"""The demo base in PyTorch: a small llama, and how it is read from its GGUF file."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import gguf
from paths import BASE


class Config:
    vocab, width, layers, heads, kv_heads, hidden = 2048, 256, 6, 8, 4, 768
    context, epsilon, theta = 512, 1e-5, 10000.0
    head_size = width // heads


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + Config.epsilon) * self.weight


def rope_table():
    """Cosines and sines, (context, head_size / 2)."""
    frequencies = Config.theta ** (-torch.arange(0, Config.head_size, 2).float() / Config.head_size)
    angles = torch.outer(torch.arange(Config.context).float(), frequencies)
    return angles.cos(), angles.sin()


def rope(x, cos, sin):
    """Rotates x (batch, heads, tokens, head_size) by interleaved pairs, llama.cpp's NORM."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def linear(n_in, n_out):
    return nn.Linear(n_in, n_out, bias=False)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        c = Config
        self.attn_norm, self.ffn_norm = Norm(c.width), Norm(c.width)
        self.q = linear(c.width, c.width)
        self.k = linear(c.width, c.kv_heads * c.head_size)
        self.v = linear(c.width, c.kv_heads * c.head_size)
        self.o = linear(c.width, c.width)
        self.gate, self.up = linear(c.width, c.hidden), linear(c.width, c.hidden)
        self.down = linear(c.hidden, c.width)

    def forward(self, x, cos, sin, mask):
        batch, tokens, _ = x.shape
        x = x + self.attention(self.attn_norm(x), cos, sin, mask).view(batch, tokens, -1)
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))

    def attention(self, h, cos, sin, mask):
        batch, tokens, _ = h.shape
        q, k, v = (f(h).view(batch, tokens, -1, Config.head_size).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = rope(q, cos, sin), rope(k, cos, sin)
        group = Config.heads // Config.kv_heads  # query head h reads key/value head h // group
        q = q.reshape(batch, Config.kv_heads, group * tokens, -1)
        scores = (q @ k.transpose(-1, -2)).view(batch, Config.kv_heads, group, tokens, tokens).float()
        weights = (scores * Config.head_size**-0.5 + mask).softmax(-1).to(v.dtype)
        y = weights.view(batch, Config.kv_heads, group * tokens, tokens) @ v
        return self.o(y.view(batch, Config.heads, tokens, -1).transpose(1, 2).reshape(batch, tokens, -1))


class Model(nn.Module):
    """Token ids (batch, tokens) to logits (batch, tokens, vocab); the head is the embedding's transpose."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(Config.vocab, Config.width)
        self.blocks = nn.ModuleList(Block() for _ in range(Config.layers))
        self.norm = Norm(Config.width)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(weight, 0, 0.02 / math.sqrt(2 * Config.layers) if residual else 0.02)
        cos, sin = rope_table()
        self.register_buffer("cos", cos, False)
        self.register_buffer("sin", sin, False)

    def forward(self, ids):
        tokens = ids.shape[1]
        x = self.emb(ids)
        mask = torch.full((tokens, tokens), -1e9).triu(1)
        for block in self.blocks:
            x = block(x, self.cos[:tokens], self.sin[:tokens], mask)
        return F.linear(self.norm(x), self.emb.weight)


# The parts of a block by their names in GGUF.
GGUF_PARTS = dict(
    attn_norm="attn_norm",
    ffn_norm="ffn_norm",
    q="attn_q",
    k="attn_k",
    v="attn_v",
    o="attn_output",
    gate="ffn_gate",
    up="ffn_up",
    down="ffn_down",
)


def gguf_name(parameter):
    """The GGUF name of one of Model's parameters: "blocks.0.q.weight" is "blk.0.attn_q.weight"."""
    part, *rest = parameter.split(".")
    if part == "blocks":
        return f"blk.{rest[0]}.{GGUF_PARTS[rest[1]]}.weight"
    return {"emb": "token_embd", "norm": "output_norm"}[part] + ".weight"


def load(path=BASE):
    """The model with the weights of a GGUF file, or of a checkpoint that train.py saved."""
    model = Model()
    if str(path).endswith(".gguf"):
        tensors = gguf.read(path)
        state = {name: torch.from_numpy(tensors[gguf_name(name)]).float() for name in model.state_dict()}
    else:
        state = torch.load(path, map_location="cpu")
    model.load_state_dict(state)
    return model


@torch.no_grad()
def generate(model, bpe, messages, limit=80):
    """The greedy answer, of at most limit tokens."""
    ids, _ = bpe.chat(messages, generate=True)
    start = len(ids)
    while len(ids) < start + limit:
        token = model(torch.tensor([ids]))[0, -1].argmax().item()
        if token in (bpe.end, bpe.eot):
            break
        ids.append(token)
    return bpe.decode(ids[start:])
