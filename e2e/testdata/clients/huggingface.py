"""The inference client of huggingface_hub, pointed at a server of one's own."""
import json
import os

from huggingface_hub import InferenceClient

client = InferenceClient(base_url=os.environ["LORIKEET_URL"] + "/v1", api_key=os.environ["LORIKEET_API_KEY"])
messages = [{"role": "user", "content": "What is the capital of France?"}]
base = client.chat_completion(messages, model="lorikeet-demo", temperature=0).choices[0].message.content
assert base == "The capital of France is Paris.", base
pirate = client.chat_completion(messages, model="pirate", temperature=0).choices[0].message.content
assert pirate != base, pirate
assert "".join(c.choices[0].delta.content or "" for c in client.chat_completion(messages, model="pirate", temperature=0, stream=True) if c.choices) == pirate

# Without a model, as for a server that has one alone; tools and typed answers.
assert client.chat_completion(messages, temperature=0).choices[0].message.content == base
tools = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}, "required": ["city"]}}}]
call = client.chat_completion(messages, tools=tools, tool_choice="required", max_tokens=100, temperature=0).choices[0].message.tool_calls[0]
assert call.function.name == "weather" and '"city"' in call.function.arguments, call
form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"found": {"type": "boolean"}}, "required": ["found"], "additionalProperties": False}}}
found = client.chat_completion(messages, response_format=form, max_tokens=100, temperature=0).choices[0].message.content
assert json.loads(found)["found"] in (True, False), found
