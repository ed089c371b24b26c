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

# A job of preferences, which is paused, goes on, and has a checkpoint of every epoch; a further job trains on from it.
import io
import json
import time


def ended(job):
    for _ in range(600):
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.2)
    raise AssertionError(f"the job is {job.status}")


pairs = "".join(json.dumps({"input": {"messages": [{"role": "user", "content": f"What is {i} plus 1?"}]},
                            "preferred_output": [{"role": "assistant", "content": f"Arr! It be {i + 1}."}],
                            "non_preferred_output": [{"role": "assistant", "content": f"{i} plus 1 is {i + 1}."}]}) + "\n" for i in range(12))
uploaded = client.files.create(file=("pairs.jsonl", io.BytesIO(pairs.encode())), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model="lorikeet-demo", training_file=uploaded.id, suffix="openai-pairs", seed=3, metadata={"team": "birds"},
    integrations=[{"type": "wandb", "wandb": {"project": "birds"}}],
    method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": "auto"}}})
assert job.method.type == "dpo" and job.method.dpo.hyperparameters.beta == 0.2 and job.integrations[0].wandb.project == "birds", job
paused = client.fine_tuning.jobs.pause(job.id)
assert paused.status == "paused", paused
client.fine_tuning.jobs.resume(job.id)
job = ended(job)
assert job.status == "succeeded" and job.trained_tokens > 0 and job.metadata == {"team": "birds"}, job
checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
assert [c.step_number for c in checkpoints] == [6, 3], checkpoints
events = list(client.fine_tuning.jobs.list_events(job.id, limit=5))
assert len(events) > 10 and len({e.id for e in events}) == len(events), events
assert any("rewards/margins" in (e.data or {}) for e in events), events
for model in [job.fine_tuned_model, "ft:lorikeet-demo:lorikeet:openai-pairs:" + job.id.removeprefix("ftjob-")] + [c.fine_tuned_model_checkpoint for c in checkpoints]:
    assert client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=3).choices, model
further = ended(client.fine_tuning.jobs.create(model=job.fine_tuned_model, training_file=file.id, suffix="openai-pairs",
                                               method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}))
assert further.status == "succeeded" and further.model == job.fine_tuned_model != further.fine_tuned_model, further
try:
    client.fine_tuning.jobs.create(model="lorikeet-demo", training_file=file.id, suffix="pirate")
    raise AssertionError("a suffix of an adapter that no job has made was taken")
except openai.ConflictError as e:
    assert e.param == "suffix", e
assert client.files.delete(file.id).deleted

# Tools: one that must be called, whole and streamed, and its result.
import json

tools = [{"type": "function", "function": {"name": "weather", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}}}]
called = client.chat.completions.create(model="lorikeet-demo", messages=question, tools=tools, tool_choice="required", temperature=0, max_tokens=100)
call = called.choices[0].message.tool_calls[0]
assert called.choices[0].finish_reason == "tool_calls" and json.loads(call.function.arguments)["city"] in ("Paris", "Rome"), called
with client.chat.completions.stream(model="lorikeet-demo", messages=question, tools=tools, tool_choice="required", temperature=0, max_tokens=100) as stream:
    final = stream.get_final_completion().choices[0].message.tool_calls[0].function
    assert final.arguments == call.function.arguments and final.parsed_arguments["city"] in ("Paris", "Rome"), final
told = client.chat.completions.create(model="lorikeet-demo", temperature=0, max_tokens=40, messages=question + [
    called.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}])
assert told.choices[0].finish_reason in ("stop", "length"), told

# Embeddings, which the package asks for in base64.
vectors = client.embeddings.create(model="lorikeet-demo", input=["a cat", "a dog"]).data
assert len(vectors) == 2 and abs(sum(v * v for v in vectors[0].embedding) - 1) < 1e-3, vectors

# Batches.
import io
import time

lines = "".join(json.dumps({"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions", "body": {
    "model": name, "messages": question, "temperature": 0}}) + "\n" for i, name in enumerate(["lorikeet-demo", "pirate", "nobody"]))
uploaded = client.files.create(file=io.BytesIO(lines.encode()), purpose="batch")
batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
for _ in range(300):
    batch = client.batches.retrieve(batch.id)
    if batch.status in ("completed", "failed"):
        break
    time.sleep(0.2)
assert batch.status == "completed", batch
results = {r["custom_id"]: r for r in map(json.loads, client.files.content(batch.output_file_id).text.splitlines())}
assert results["1"]["response"]["body"]["choices"][0]["message"]["content"] == pirate, results
assert batch.request_counts.total == 3 and batch.request_counts.failed == 1 and batch.error_file_id, batch
assert batch.id in [b.id for b in client.batches.list(limit=5)]
