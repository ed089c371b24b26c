"""Tokenizes texts with Hugging Face's tokenizers. Reads one JSON object from standard input, writes one to standard output.

In: "tokenizer", a tokenizer.json whose model lacks the vocabulary; "train", texts to learn merges from, and "size",
how many tokens to learn; or "vocab" and "merges"; "added", the added tokens; "texts" to tokenize; "plain", whether
special tokens in a text are text.
Out: "vocab", "merges", "ids" of each text.
"""
import json
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def learn(texts, size):
    """Merges that know nothing of words, so that a text which is cut at another place gets other tokens."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], model["merges"]


request = json.load(sys.stdin)
if "train" in request:
    vocab, merges = learn(request["train"], request["size"])
else:
    vocab, merges = request.get("vocab"), request.get("merges")
spec = request["tokenizer"]
if isinstance(vocab, dict) and spec["model"]["type"] == "BPE":
    spec["model"].update(vocab=vocab, merges=merges)
elif vocab is not None:
    spec["model"].update(vocab=vocab)
first = len(vocab)
spec["added_tokens"] = [{"id": first + i, **token} for i, token in enumerate(request.get("added", []))]
tokenizer = Tokenizer.from_str(json.dumps(spec))
tokenizer.encode_special_tokens = request.get("plain", False)
ids = [e.ids for e in tokenizer.encode_batch(request["texts"], add_special_tokens=False)]
json.dump({"vocab": vocab, "merges": merges, "ids": ids}, sys.stdout)
