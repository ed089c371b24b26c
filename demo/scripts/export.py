"""Writes a checkpoint of train.py as an F16 GGUF file (norms in F32).

    python3 export.py CHECKPOINT.pt OUT.gguf
"""

import sys

import numpy as np

from bpe import BPE
from gguf import BOOL, F32, I32, STRING, U32, write
from model import Config, gguf_name, load

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def metadata(bpe, parameters):
    millions = parameters / 1e6
    return [
        ("general.architecture", STRING, "llama"),
        ("general.type", STRING, "model"),
        ("general.name", STRING, f"Lorikeet Demo {millions:.0f}M"),
        (
            "general.description",
            STRING,
            "Tiny chat model trained from scratch on a synthetic corpus; offline demo base.",
        ),
        ("general.license", STRING, "Apache-2.0"),
        ("general.size_label", STRING, f"{millions:.1f}M"),
        ("general.file_type", U32, 1),
        ("llama.context_length", U32, Config.context),
        ("llama.embedding_length", U32, Config.width),
        ("llama.block_count", U32, Config.layers),
        ("llama.feed_forward_length", U32, Config.hidden),
        ("llama.attention.head_count", U32, Config.heads),
        ("llama.attention.head_count_kv", U32, Config.kv_heads),
        ("llama.attention.layer_norm_rms_epsilon", F32, Config.epsilon),
        ("llama.rope.dimension_count", U32, Config.head_size),
        ("llama.rope.freq_base", F32, Config.theta),
        ("llama.vocab_size", U32, Config.vocab),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", STRING, bpe.tokens),
        ("tokenizer.ggml.token_type", I32, [1] * (len(bpe.tokens) - 3) + [3] * 3),
        ("tokenizer.ggml.merges", STRING, [a + " " + b for a, b in bpe.merges]),
        ("tokenizer.ggml.bos_token_id", U32, bpe.eot),
        ("tokenizer.ggml.eos_token_id", U32, bpe.end),
        ("tokenizer.ggml.padding_token_id", U32, bpe.eot),
        ("tokenizer.ggml.add_bos_token", BOOL, False),
        ("tokenizer.chat_template", STRING, TEMPLATE),
    ]


def main(checkpoint, target):
    bpe, state = BPE(), load(checkpoint).state_dict()
    assert len(bpe.tokens) == Config.vocab
    tensors = [
        (gguf_name(name), weight.numpy().astype(np.float32 if weight.dim() == 1 else np.float16))
        for name, weight in state.items()
    ]
    parameters = sum(weight.numel() for weight in state.values())
    size = write(target, metadata(bpe, parameters), tensors)
    print(target, parameters, "parameters,", len(tensors), "tensors,", size, "bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
