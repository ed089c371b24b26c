"""The Responses API through the openai package."""
import json
import os

import openai
import pydantic

url, key = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"]
client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
question = "What is the capital of France?"

base = client.responses.create(model="lorikeet-demo", input=question, temperature=0)
assert base.output_text == "The capital of France is Paris." and base.status == "completed", base
assert base.usage.input_tokens > 0 and base.usage.output_tokens > 0, base
pirate = client.responses.create(model="pirate", input=question, temperature=0).output_text
assert pirate != base.output_text, pirate
extra = client.responses.create(model="lorikeet-demo", input=question, temperature=0, extra_body={"adapter": "pirate"})
assert extra.output_text == pirate, extra

# A stream: its events come in order, and what they say is the answer.
text, numbers, types = "", [], []
for event in client.responses.create(model="pirate", input=question, temperature=0, stream=True):
    numbers.append(event.sequence_number)
    types.append(event.type)
    if event.type == "response.output_text.delta":
        text += event.delta
assert text == pirate and numbers == list(range(len(numbers))), (text, numbers)
assert types[0] == "response.created" and types[-1] == "response.completed", types
with client.responses.stream(model="pirate", input=question, temperature=0) as stream:
    for event in stream:
        pass
    assert stream.get_final_response().output_text == pirate

# A conversation that the server keeps.
second = client.responses.create(model="lorikeet-demo", previous_response_id=base.id, input="And of Italy?", temperature=0)
alone = client.responses.create(model="lorikeet-demo", input=[
    {"role": "user", "content": question}, {"role": "assistant", "content": base.output_text}, {"role": "user", "content": "And of Italy?"}],
    temperature=0)
assert second.output_text == alone.output_text and second.usage.input_tokens == alone.usage.input_tokens, (second, alone)
assert client.responses.retrieve(base.id).output_text == base.output_text
assert [item.content[0].text for item in client.responses.input_items.list(base.id)] == [question]
client.responses.delete(base.id)
for gone in (lambda: client.responses.retrieve(base.id),
             lambda: client.responses.create(model="lorikeet-demo", previous_response_id=second.id, input="x"),
             lambda: client.responses.create(model="nobody", input="x")):
    try:
        gone()
    except openai.NotFoundError as e:
        assert e.message, e
    else:
        raise AssertionError("expected a NotFoundError")
assert not client.responses.create(model="lorikeet-demo", input=question, max_output_tokens=2, store=False).store

# A typed answer.
class City(pydantic.BaseModel):
    name: str
    country: str

parsed = client.responses.parse(model="json", input=question, temperature=0, text_format=City)
assert isinstance(parsed.output_parsed, City), parsed

# A tool that must be called, whole and streamed, and its result.
tools = [{"type": "function", "name": "weather", "description": "The weather of a city", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}}]
asked = client.responses.create(model="lorikeet-demo", input=question, tools=tools, tool_choice="required", max_output_tokens=100, temperature=0)
call = [item for item in asked.output if item.type == "function_call"][0]
assert call.name == "weather" and json.loads(call.arguments)["city"] in ("Paris", "Rome"), asked
answer = client.responses.create(model="lorikeet-demo", previous_response_id=asked.id, tools=tools, tool_choice="none", max_output_tokens=40,
                                 input=[{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}])
assert answer.status in ("completed", "incomplete") and answer.previous_response_id == asked.id, answer
arguments, done = "", None
for event in client.responses.create(model="lorikeet-demo", input=question, tools=tools, tool_choice={"type": "function", "name": "weather"},
                                     max_output_tokens=100, temperature=0, stream=True):
    if event.type == "response.function_call_arguments.delta":
        arguments += event.delta
    elif event.type == "response.function_call_arguments.done":
        done = event.arguments
assert arguments == done and json.loads(done)["city"] in ("Paris", "Rome"), (arguments, done)
