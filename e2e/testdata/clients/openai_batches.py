"""The openai package: embeddings, batches, and the log-probabilities of a prompt."""
import json
import math
import os
import time

import openai

url, key = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"]
client = openai.OpenAI(base_url=url + "/v1", api_key=key)

# Embeddings: the package asks for base64 by itself, and reads it.
made = client.embeddings.create(model="lorikeet-demo", input=["A dog barks.", "A dog barks!", "Seven times six is 42."])
first, near, far = (e.embedding for e in made.data)
dot = lambda a, b: sum(x * y for x, y in zip(a, b))
assert abs(dot(first, first) - 1) < 1e-5 and dot(first, near) > dot(first, far), (dot(first, near), dot(first, far))
assert made.usage.prompt_tokens == made.usage.total_tokens > 3, made.usage
floats = client.embeddings.create(model="lorikeet-demo", input="A dog barks.", encoding_format="float").data[0].embedding
assert max(abs(a - b) for a, b in zip(first, floats)) < 1e-6
short = client.embeddings.create(model="lorikeet-demo", input="A dog barks.", dimensions=16).data[0].embedding
assert len(short) == 16 and abs(dot(short, short) - 1) < 1e-5
pirate = client.embeddings.create(model="pirate", input="A dog barks.").data[0].embedding
assert len(pirate) == len(first) and dot(first, pirate) < 0.99999, dot(first, pirate)

# A batch over an uploaded file, of several adapters, with a line at fault.
question = [{"role": "user", "content": "What is the capital of France?"}]
lines = [{"custom_id": f"{name} {i}", "method": "POST", "url": "/v1/chat/completions",
          "body": {"model": name, "messages": question, "temperature": 0}}
         for i in range(4) for name in ("lorikeet-demo", "pirate", "nobody")]
sent = client.files.create(file=("in.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
batch = client.batches.create(input_file_id=sent.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"})
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.1)
    batch = client.batches.retrieve(batch.id)
assert batch.status == "completed" and batch.metadata == {"a": "b"}, batch
assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (12, 8, 4), batch
results = {r["custom_id"]: r for r in map(json.loads, client.files.content(batch.output_file_id).text.splitlines())}
for name in ("lorikeet-demo", "pirate"):
    direct = client.chat.completions.create(model=name, messages=question, temperature=0).choices[0].message.content
    assert all(results[f"{name} {i}"]["response"]["body"]["choices"][0]["message"]["content"] == direct for i in range(4)), results
errors = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
assert {e["response"]["status_code"] for e in errors} == {404} and len(errors) == 4, errors
assert batch.id in [b.id for b in client.batches.list(limit=5)]
try:
    client.batches.cancel(batch.id)
    raise AssertionError("a batch that has ended was cancelled")
except openai.ConflictError:
    pass

# Log-probabilities of a prompt alone.
scored = client.completions.create(model="lorikeet-demo", prompt=["The capital of France is", "The capital of France cat"],
                                   echo=True, logprobs=1, max_tokens=0).choices
for choice in scored:
    assert choice.logprobs.token_logprobs[0] is None and choice.finish_reason == "length", choice
    assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset) and "".join(choice.logprobs.tokens) == choice.text, choice
right, wrong = (sum(c.logprobs.token_logprobs[1:]) for c in scored)
assert math.isfinite(right) and right > wrong, (right, wrong)
