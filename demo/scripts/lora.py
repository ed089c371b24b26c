"""LoRA in PyTorch on the demo base, and adapters in PEFT's file format."""

import json
import math
import random
import struct

import numpy as np
import torch
import torch.nn as nn

from marking import style
from model import Config, generate
from train import loss_of

# The linear layers of a block by their names in Hugging Face's llama.
HF = dict(
    q="self_attn.q_proj",
    k="self_attn.k_proj",
    v="self_attn.v_proj",
    o="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
)
BATCH, WARMUP = 16, 20


class LoRA(nn.Module):
    """A linear layer W with an update: W x + scale B A x."""

    def __init__(self, base, rank, scale):
        super().__init__()
        self.base, self.scale = base, scale
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + (x @ self.a.t()) @ self.b.t() * self.scale


def scale_of(rank, alpha, rslora):
    return alpha / (math.sqrt(rank) if rslora else rank)


def attach(model, targets, rank, scale):
    """Puts a LoRA on the target layers of every block, and freezes the rest: {(block, layer): LoRA}."""
    model.requires_grad_(False)
    modules = {}
    for i, block in enumerate(model.blocks):
        for layer in targets:
            modules[i, layer] = LoRA(getattr(block, layer), rank, scale)
            setattr(block, layer, modules[i, layer])
    return modules


def fit(model, bpe, rows, epochs, rate):
    """Trains what is not frozen on the assistant's tokens; returns the last loss."""
    rng = random.Random(0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    documents = [bpe.chat(row["messages"]) for row in rows]
    step, steps = 0, epochs * math.ceil(len(documents) / BATCH)
    for _ in range(epochs):
        rng.shuffle(documents)
        for i in range(0, len(documents), BATCH):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, (step + 1) / WARMUP) * (1 - step / steps)
            loss, _, _ = loss_of(model, documents[i : i + BATCH], bpe.eot, others=0.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return loss.item()


def score(model, bpe, kind, rows):
    """How many answers have the style, and how many the fact as well."""
    marks = [style(kind, generate(model, bpe, row["messages"][:-1]), row["key"]) for row in rows]
    styled, facts = sum(s for s, _ in marks), sum(f for _, f in marks)
    return f"style {styled}/{len(rows)}, style and fact {facts}/{len(rows)}"


# ---- PEFT files -------------------------------------------------------------------------------------------


def to_hf(b, heads):
    """The rows of a projection with interleaved RoPE in Hugging Face's half-split order."""
    out, rank = b.shape
    return b.view(heads, out // heads // 2, 2, rank).transpose(1, 2).reshape(out, rank).contiguous()


def from_hf(b, heads):
    out, rank = b.shape
    return b.view(heads, 2, out // heads // 2, rank).transpose(1, 2).reshape(out, rank).contiguous()


def heads_of(layer):
    return {"q": Config.heads, "k": Config.kv_heads}.get(layer)


def tensor_name(block, layer, which):
    return f"base_model.model.model.layers.{block}.{HF[layer]}.lora_{which}.weight"


def save(folder, modules, targets, rank, alpha, rslora):
    """Writes adapter_config.json and adapter_model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for (block, layer), lora in modules.items():
        a, b, heads = lora.a.detach(), lora.b.detach(), heads_of(layer)
        tensors[tensor_name(block, layer, "A")] = a
        tensors[tensor_name(block, layer, "B")] = to_hf(b, heads) if heads else b
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    config = dict(
        peft_type="LORA", task_type="CAUSAL_LM", base_model_name_or_path="lorikeet-demo", r=rank, lora_alpha=alpha,
        lora_dropout=0.0, bias="none", fan_in_fan_out=False, inference_mode=True, init_lora_weights=True,
        modules_to_save=None, rank_pattern={}, alpha_pattern={}, use_dora=False, use_rslora=rslora,
        target_modules=[HF[layer].split(".")[1] for layer in targets], layers_to_transform=None, layers_pattern=None,
    )  # fmt: skip
    with open(folder / "adapter_config.json", "w") as f:
        json.dump(config, f, indent=1)


def load(folder, model):
    """Attaches the adapter in a folder to the model."""
    with open(folder / "adapter_config.json") as f:
        config = json.load(f)
    targets = [layer for layer, name in HF.items() if name.split(".")[1] in config["target_modules"]]
    scale = scale_of(config["r"], config["lora_alpha"], config["use_rslora"])
    tensors = read_safetensors(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for (block, layer), lora in attach(model, targets, config["r"], scale).items():
            b, heads = tensors[tensor_name(block, layer, "B")], heads_of(layer)
            lora.a.copy_(tensors[tensor_name(block, layer, "A")])
            lora.b.copy_(from_hf(b, heads) if heads else b)


def write_safetensors(path, tensors):
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in sorted(tensors.items()):
        raw = tensor.float().numpy().tobytes()
        head[name] = dict(dtype="F32", shape=list(tensor.shape), data_offsets=[len(data), len(data) + len(raw)])
        data += raw
    head = json.dumps(head, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def read_safetensors(path):
    """The F32 tensors of a file."""
    raw = path.read_bytes()
    start = 8 + struct.unpack_from("<Q", raw)[0]
    tensors = {}
    for name, info in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            array = np.frombuffer(raw[start + begin : start + end], np.float32).reshape(info["shape"])
            tensors[name] = torch.from_numpy(array.copy())
    return tensors
