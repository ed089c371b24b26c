"""litellm as a library, with the provider for servers that speak as OpenAI does."""
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is downloaded
import litellm

litellm.telemetry = False
where = {"api_base": os.environ["LORIKEET_URL"] + "/v1", "api_key": os.environ["LORIKEET_API_KEY"], "temperature": 0, "num_retries": 0}
messages = [{"role": "user", "content": "What is the capital of France?"}]

base = litellm.completion(model="openai/lorikeet-demo", messages=messages, **where).choices[0].message.content
assert base == "The capital of France is Paris.", base
pirate = litellm.completion(model="openai/pirate", messages=messages, **where).choices[0].message.content
assert pirate != base, pirate
pieces = litellm.completion(model="openai/pirate", messages=messages, stream=True, **where)
assert "".join(p.choices[0].delta.content or "" for p in pieces) == pirate
try:
    litellm.completion(model="openai/nobody", messages=messages, **where)
except litellm.NotFoundError:
    pass
else:
    raise AssertionError("an unknown model was answered")

# A tool that must be called, and the same server through the other providers that litellm has.
import json

tools = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}}}]
called = litellm.completion(model="openai/lorikeet-demo", messages=messages, tools=tools, tool_choice="required", max_tokens=100, **where)
assert json.loads(called.choices[0].message.tool_calls[0].function.arguments)["city"] in ("Paris", "Rome"), called
elsewhere = {"api_base": os.environ["LORIKEET_URL"], "api_key": os.environ["LORIKEET_API_KEY"], "num_retries": 0}
for name in ("anthropic/pirate", "ollama_chat/pirate"):
    assert litellm.completion(model=name, messages=messages, max_tokens=64, temperature=0, **elsewhere).choices[0].message.content == pirate, name
assert litellm.responses(model="openai/pirate", input=messages[0]["content"], **where).output[0].content[0].text == pirate
assert len(litellm.embedding(model="openai/lorikeet-demo", input=["a"], api_base=where["api_base"], api_key=where["api_key"]).data) == 1
