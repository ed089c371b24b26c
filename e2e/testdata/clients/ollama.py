"""The ollama package, pointed at another host."""
import os

import ollama

url, key = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"]
client = ollama.Client(host=url, headers={"Authorization": "Bearer " + key})
messages = [{"role": "user", "content": "What is the capital of France?"}]
greedy = {"temperature": 0}

base = client.chat(model="lorikeet-demo", messages=messages, options=greedy)
assert base.message.content == "The capital of France is Paris." and base.done_reason == "stop" and base.eval_count > 0, base
pirate = client.chat(model="pirate", messages=messages, options=greedy).message.content
assert pirate != base.message.content, pirate
pieces = list(client.chat(model="pirate:latest", messages=messages, options=greedy, stream=True))
assert "".join(p.message.content for p in pieces) == pirate and pieces[-1].done, pieces
assert client.generate(model="pirate", prompt=messages[0]["content"], options=greedy).response == pirate
assert "".join(p.response for p in client.generate(model="pirate", prompt=messages[0]["content"], options=greedy, stream=True)) == pirate
short = client.generate(model="lorikeet-demo", prompt="The capital of", raw=True, options=greedy | {"num_predict": 2})
assert short.eval_count == 2 and short.done_reason == "length", short

# A typed answer, and a tool.
import json

city = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}
typed = client.chat(model="json", messages=messages, format=city, options=greedy)
assert isinstance(json.loads(typed.message.content)["name"], str), typed

def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return "rain"

called = client.chat(model="lorikeet-demo", messages=messages, tools=[weather], options=greedy | {"num_predict": 80})
for call in called.message.tool_calls or []:
    assert call.function.name == "weather", called
messages += [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}]},
             {"role": "tool", "tool_name": "weather", "content": weather("Paris")}]
assert client.chat(model="lorikeet-demo", messages=messages, options=greedy | {"num_predict": 20}).done

names = [m.model for m in client.list().models]
assert "lorikeet-demo:latest" in names and "pirate:latest" in names, names
assert "lorikeet-demo:latest" in [m.model for m in client.ps().models]
shown = client.show("pirate")
assert shown.details.parent_model == "lorikeet-demo" and shown.modelinfo["general.architecture"] == "llama", shown
vectors = client.embed(model="lorikeet-demo", input=["a", "b"]).embeddings
assert len(vectors) == 2 and abs(sum(v * v for v in vectors[0]) - 1) < 1e-3, vectors
try:
    client.chat(model="nobody", messages=messages)
except ollama.ResponseError as e:
    assert e.status_code == 404 and "nobody" in e.error, e
else:
    raise AssertionError("an unknown model was answered")
