#!/usr/bin/env python3
"""LoRA training with transformers and peft on a GPU: what training on a device is compared with.

A llama-shaped model of random bfloat16 weights, LoRA on its seven linear layers, gradient checkpointing, the model's own
loss, AdamW, clipping: what a user of the two libraries has with their defaults. Prints one line of JSON.

Needs torch with a GPU (--device cpu: without one), transformers and peft.
"""
import argparse
import json
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def options():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--device", default="cuda")
    p.add_argument("--tokens", type=int, default=2048)
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--steps", type=int, default=5)
    for name, value in dict(embedding=4096, feed_forward=14336, heads=32, kv_heads=8, layers=32, vocab=128256).items():
        p.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    return p.parse_args()


def build(o):
    config = LlamaConfig(
        hidden_size=o.embedding, intermediate_size=o.feed_forward, num_attention_heads=o.heads,
        num_key_value_heads=o.kv_heads, num_hidden_layers=o.layers, vocab_size=o.vocab,
        max_position_embeddings=max(8192, o.tokens), use_cache=False)
    with torch.device(o.device):
        torch.set_default_dtype(torch.bfloat16)
        model = AutoModelForCausalLM.from_config(config)
        torch.set_default_dtype(torch.float32)
    model = get_peft_model(model, LoraConfig(r=o.rank, lora_alpha=2 * o.rank, target_modules=LINEARS, task_type="CAUSAL_LM"))
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    return model


def main():
    o = options()
    gpu = o.device.startswith("cuda")
    wait = torch.cuda.synchronize if gpu else lambda: None
    model = build(o)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    tokens = torch.randint(0, o.vocab, (1, o.tokens), device=o.device)
    seconds = []
    for i in range(o.steps + 1):
        wait()
        start = time.perf_counter()
        model(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        wait()
        if i > 0:  # the first one compiles and allocates
            seconds.append(time.perf_counter() - start)
    seconds.sort()
    print(json.dumps({
        "bench": "transformers_lora", "torch": torch.__version__, "tokens": o.tokens, "rank": o.rank, "layers": o.layers,
        "seconds": seconds, "tokens_per_second": o.tokens / seconds[len(seconds) // 2],
        "peak_device_mib": torch.cuda.max_memory_reserved() >> 20 if gpu else None,
    }))


if __name__ == "__main__":
    main()
