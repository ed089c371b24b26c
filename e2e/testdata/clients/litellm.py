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
