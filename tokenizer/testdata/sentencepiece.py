"""Learns a unigram model with SentencePiece, and tokenizes texts with it. Reads one JSON object from standard input, writes one to
standard output.

In: "corpus", texts to learn from; "options" of the trainer; "texts" to tokenize.
Out: "model", the file of the model in base64; "ids" of each text.
"""
import base64
import io
import json
import sys

import sentencepiece

request = json.load(sys.stdin)
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(request["corpus"]), model_writer=model, model_type="unigram", minloglevel=2, num_threads=1, **request["options"])
tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
json.dump({"model": base64.b64encode(model.getvalue()).decode(), "ids": tokenizer.encode(request["texts"])}, sys.stdout)
