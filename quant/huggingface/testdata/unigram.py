"""Learns a unigram model with Hugging Face's tokenizers, and tokenizes texts with it. Reads one JSON object from standard input,
writes one to standard output.

In: "corpus", texts to learn from; "texts" to tokenize; "bytes", whether unknown characters become bytes.
Out: "file", the text of tokenizer.json; "ids" of each text.
"""
import json
import sys

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

request = json.load(sys.stdin)
tokenizer = Tokenizer(models.Unigram())
tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")])
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256 if request["bytes"] else 0)]
tokenizer.train_from_iterator(request["corpus"], trainers.UnigramTrainer(
    vocab_size=1500, unk_token="<unk>", special_tokens=special, show_progress=False))
spec = json.loads(tokenizer.to_str())
spec["model"]["byte_fallback"] = request["bytes"]
spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
file = json.dumps(spec)
tokenizer = Tokenizer.from_str(file)
json.dump({"file": file, "ids": [e.ids for e in tokenizer.encode_batch(request["texts"], add_special_tokens=False)]}, sys.stdout)
