"""The openai package, used as its documentation shows: only the base URL, the key and the model's name are ours."""
import asyncio
import os

import openai

url, key, dataset = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"], os.environ["DATASET"]
client = openai.OpenAI(base_url=url + "/v1", api_key=key)
question = [{"role": "user", "content": "What is the capital of France?"}]

# Chat, of the base and of an adapter, whole and as a stream.
answer = client.chat.completions.create(model="lorikeet-demo", messages=question, temperature=0)
assert answer.choices[0].message.content == "The capital of France is Paris.", answer
assert answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens > 0, answer
pirate = client.chat.completions.create(model="pirate", messages=question, temperature=0).choices[0].message.content
assert pirate != answer.choices[0].message.content, pirate
text, usage = "", None
for chunk in client.chat.completions.create(model="pirate", messages=question, temperature=0, stream=True,
                                            stream_options={"include_usage": True}):
    text += "".join(choice.delta.content or "" for choice in chunk.choices)
    usage = chunk.usage or usage
assert text == pirate and usage.completion_tokens > 0, (text, usage)
with client.chat.completions.stream(model="pirate", messages=question, temperature=0) as stream:
    assert stream.get_final_completion().choices[0].message.content == pirate
scored = client.chat.completions.create(model="lorikeet-demo", messages=question, temperature=0, logprobs=True, top_logprobs=2, n=2)
assert len(scored.choices) == 2 and len(scored.choices[1].logprobs.content[0].top_logprobs) == 2, scored

# Many at once through the asynchronous client: each answer is its own adapter's.
async def together():
    names = ["lorikeet-demo", "pirate"] * 6
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=key) as many:
        answers = await asyncio.gather(*(many.chat.completions.create(model=n, messages=question, temperature=0) for n in names))
    for name, one in zip(names, answers):
        assert one.choices[0].message.content == (pirate if name == "pirate" else answer.choices[0].message.content), (name, one)

asyncio.run(together())

# Completions and models.
assert client.completions.create(model="lorikeet-demo", prompt="The capital of", max_tokens=4, temperature=0).choices[0].text
names = [m.id for m in client.models.list()]
assert "lorikeet-demo" in names and "pirate" in names, names
assert client.models.retrieve("pirate").id == "pirate"

# Errors are the classes that the package has for them.
for wrong, kind in (
    (lambda: client.chat.completions.create(model="nobody", messages=question), openai.NotFoundError),
    (lambda: client.chat.completions.create(model="pirate", messages=question, temperature=-1), openai.BadRequestError),
    (lambda: openai.OpenAI(base_url=url + "/v1", api_key="wrong").models.list(), openai.AuthenticationError),
):
    try:
        wrong()
    except kind as e:
        assert e.message, e
    else:
        raise AssertionError(f"expected {kind}")

# A typed answer.
import pydantic

class City(pydantic.BaseModel):
    name: str
    country: str

parsed = client.chat.completions.parse(model="json", messages=question, temperature=0, response_format=City)
assert isinstance(parsed.choices[0].message.parsed, City), parsed

# Files and fine-tuning.
with open(dataset, "rb") as f:
    file = client.files.create(file=f, purpose="fine-tune")
assert client.files.retrieve(file.id).bytes == os.path.getsize(dataset)
assert file.id in [f.id for f in client.files.list(purpose="fine-tune")]
job = client.fine_tuning.jobs.create(model="lorikeet-demo", training_file=file.id, suffix="openai-python",
                                     method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}})
assert job.id in [j.id for j in client.fine_tuning.jobs.list(limit=5)]
client.fine_tuning.jobs.cancel(job.id)
assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"
assert client.fine_tuning.jobs.list_events(job.id).data
assert client.files.content(file.id).read() == open(dataset, "rb").read()
assert client.files.delete(file.id).deleted
