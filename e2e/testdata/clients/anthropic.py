"""The anthropic package, used as its documentation shows: only the base URL, the key and the model's name are ours."""
import os

import anthropic

url, key = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"]
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
messages = [{"role": "user", "content": "What is the capital of France?"}]
greedy = {"extra_body": {"temperature": 0}}  # the package has no argument for it any more

def ask(model, **more):
    return client.messages.create(model=model, max_tokens=64, messages=messages, **(greedy | more))

base = ask("lorikeet-demo")
assert base.content[0].text == "The capital of France is Paris." and base.stop_reason == "end_turn", base
assert base.usage.input_tokens > 0 and base.usage.output_tokens > 0, base
pirate = ask("pirate").content[0].text
assert pirate != base.content[0].text, pirate
with client.messages.stream(model="pirate", max_tokens=64, messages=messages, **greedy) as stream:
    assert "".join(stream.text_stream) == pirate
    assert stream.get_final_message().stop_reason == "end_turn"
short = client.messages.create(model="lorikeet-demo", max_tokens=2, messages=messages, **greedy)
assert short.stop_reason == "max_tokens", short
stopped = ask("lorikeet-demo", stop_sequences=[" of"])
assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == " of" and stopped.content[0].text == "The capital", stopped
blocks = client.messages.create(model="pirate", max_tokens=64, messages=[{"role": "user", "content": [
    {"type": "text", "text": "What is the capital of France?"}]}], **greedy)
assert blocks.content[0].text == pirate, blocks
assert client.messages.count_tokens(model="pirate", messages=messages, system="Be short.").input_tokens > 5

for wrong, kind in (
    (lambda: ask("nobody"), anthropic.NotFoundError),
    (lambda: ask("pirate", extra_body={"top_p": 3}), anthropic.BadRequestError),
    (lambda: anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0).messages.create(
        model="pirate", max_tokens=8, messages=messages), anthropic.AuthenticationError),
):
    try:
        wrong()
    except kind as e:
        assert e.body["type"] == "error" and e.body["error"]["message"], e.body
    else:
        raise AssertionError(f"expected {kind}")

# A tool that must be called, whole and streamed, and its result.
tools = [{"name": "weather", "description": "The weather of a city", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}}]
called = client.messages.create(model="lorikeet-demo", max_tokens=100, messages=messages, tools=tools, tool_choice={"type": "any"}, **greedy)
use = [b for b in called.content if b.type == "tool_use"][0]
assert called.stop_reason == "tool_use" and use.name == "weather" and use.input["city"] in ("Paris", "Rome"), called
with client.messages.stream(model="lorikeet-demo", max_tokens=100, messages=messages, tools=tools,
                            tool_choice={"type": "tool", "name": "weather"}, **greedy) as stream:
    final = stream.get_final_message()
    assert [b.input for b in final.content if b.type == "tool_use"] == [use.input], final
told = client.messages.create(model="lorikeet-demo", max_tokens=40, tools=tools, **greedy, messages=messages + [
    {"role": "assistant", "content": called.content},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"}]}])
assert told.type == "message", told
