"""The inference client of huggingface_hub, pointed at a server of one's own."""
import os

from huggingface_hub import InferenceClient

client = InferenceClient(base_url=os.environ["LORIKEET_URL"] + "/v1", api_key=os.environ["LORIKEET_API_KEY"])
messages = [{"role": "user", "content": "What is the capital of France?"}]
base = client.chat_completion(messages, model="lorikeet-demo", temperature=0).choices[0].message.content
assert base == "The capital of France is Paris.", base
pirate = client.chat_completion(messages, model="pirate", temperature=0).choices[0].message.content
assert pirate != base, pirate
assert "".join(c.choices[0].delta.content or "" for c in client.chat_completion(messages, model="pirate", temperature=0, stream=True) if c.choices) == pirate
