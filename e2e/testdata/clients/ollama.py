"""The ollama package, used as its documentation shows."""
import os

import ollama

client = ollama.Client(host=os.environ["LORIKEET_URL"], headers={"Authorization": "Bearer " + os.environ["LORIKEET_API_KEY"]})
messages = [{"role": "user", "content": "What is the capital of France?"}]
greedy = {"temperature": 0}

base = client.chat("lorikeet-demo", messages, options=greedy)
assert base.message.content == "The capital of France is Paris." and base.done and base.eval_count > 0, base
pirate = client.chat("pirate", messages, options=greedy).message.content
assert pirate != base.message.content, pirate
pieces = list(client.chat("pirate", messages, options=greedy, stream=True))
assert "".join(p.message.content or "" for p in pieces) == pirate and pieces[-1].done, pieces
assert client.generate("pirate", "What is the capital of France?", options=greedy).response == pirate
assert "".join(p.response for p in client.generate("pirate", "What is the capital of France?", options=greedy, stream=True)) == pirate
names = [m.model for m in client.list().models]
assert any(n.startswith("pirate") for n in names), names
assert client.show("pirate").modelinfo and client.ps() is not None

import json

typed = client.chat("json", messages, options=greedy, format={
    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False})
assert isinstance(json.loads(typed.message.content)["name"], str), typed
try:
    client.chat("nobody", messages)
except ollama.ResponseError as e:
    assert e.status_code == 404 and e.error, e
else:
    raise AssertionError("an unknown model was answered")
