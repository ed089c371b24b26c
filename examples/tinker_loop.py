"""A training loop of one's own against Tinker's API: learns a dataset step by step, and asks the adapter after each pass.

    pip install tinker
    lorikeet serve --api-key tml-local
    TINKER_BASE_URL=http://127.0.0.1:8080 TINKER_API_KEY=tml-local python examples/tinker_loop.py [DATASET [FOLDER]]

DATASET has lines of messages, FOLDER the base's tokenizer.json, as Hugging Face has it; those of the demo by default.
"""

import json
import os
import random
import sys

import tinker
from tinker import types
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

here = os.path.dirname(os.path.abspath(__file__))
dataset = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "../demo/data/support.jsonl")
folder = sys.argv[2] if len(sys.argv) > 2 else os.path.join(here, "../demo")


def load_tokenizer(path):
    """A tokenizer of Hugging Face's, or the demo's, of which there are the merges alone: bytes, merges, control tokens."""
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    if "model" in content:
        return Tokenizer.from_file(path)
    merges = [tuple(m) for m in content["merges"]]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    characters = {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}
    pieces = [characters[b] for b in range(256)] + [a + b for a, b in merges]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return tokenizer


tokenizer = load_tokenizer(os.path.join(folder, "tokenizer.json"))


def turn(message):
    """A message as the demo's chat template prints it; another base's may differ."""
    return f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"


def encode(text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def datum(messages):
    """The answer is learned, what comes before it is not."""
    prompt = encode("".join(turn(m) for m in messages[:-1]) + "<|im_start|>assistant\n")
    answer = encode(messages[-1]["content"] + "<|im_end|>")
    tokens = prompt + answer
    weights = [0.0] * (len(prompt) - 1) + [1.0] * len(answer)
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={"target_tokens": tokens[1:], "weights": weights},
    )


with open(dataset, encoding="utf-8") as lines:
    conversations = [json.loads(line)["messages"] for line in lines]
data = [datum(messages) for messages in conversations]

service = tinker.ServiceClient()
base = tinker.RestClient().get_server_capabilities().result().supported_models[0].model_name
client = service.create_lora_training_client(base_model=base, rank=16, seed=1).result()
random.seed(1)
for epoch in range(6):
    random.shuffle(data)
    loss = labels = 0.0
    for at in range(0, len(data), 8):
        batch = data[at : at + 8]
        # Both calls are sent before the first is waited for: the server never waits for the client.
        forward = client.forward_backward(batch, "cross_entropy")
        update = client.optim_step(types.AdamParams(learning_rate=2e-3))
        loss += forward.result().metrics["loss:sum"]
        labels += sum(sum(d.loss_fn_inputs["weights"].data) for d in batch)
        update.result()
    # The weights as they stand answer at once, beside everybody else's requests.
    sampler = client.save_weights_and_get_sampling_client().result()
    question = conversations[0][:-1]
    prompt = types.ModelInput.from_ints(encode("".join(turn(m) for m in question) + "<|im_start|>assistant\n"))
    answer = sampler.sample(prompt, 1, types.SamplingParams(max_tokens=64, temperature=0)).result().sequences[0]
    print(f"epoch {epoch + 1}: loss {loss / labels:.3f}; {question[-1]['content']!r} -> {tokenizer.decode(list(answer.tokens))!r}")

print("saved as", client.save_weights_for_sampler("final").result().path)
