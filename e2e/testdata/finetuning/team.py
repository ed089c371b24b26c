"""A team's fine-tuning code, written for OpenAI's API: supervised, then preferences on top of that, then rewards. What is this
server's is the base URL, the key, and the address of the endpoint that grades."""
import asyncio
import csv
import io
import json
import os
import time

import openai

MODEL = "gpt-4.1-nano-2025-04-14"
run_id = f"{time.time():.0f}"
client = openai.OpenAI(base_url=os.environ["LORIKEET_URL"] + "/v1", api_key=os.environ["LORIKEET_API_KEY"])


def write(name, rows):
    with open(name, "w") as f:
        for row in rows:
            f.write(json.dumps(row) + "\n")
    with open(name, "rb") as f:
        file = client.files.create(file=f, purpose="fine-tune")
    file = client.files.wait_for_processing(file.id)
    assert file.status == "processed" and file.filename == name, file
    return file.id


def wait(job):
    seen = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job.id)
        for event in client.fine_tuning.jobs.list_events(fine_tuning_job_id=job.id, limit=10).data:
            seen.add(event.id)
        if job.status in ("succeeded", "failed", "cancelled"):
            assert job.status == "succeeded", (job.error, [e.message for e in client.fine_tuning.jobs.list_events(job.id)])
            assert job.finished_at >= job.created_at and job.trained_tokens > 0 and seen, job
            return job
        assert job.status in ("validating_files", "queued", "running") and job.fine_tuned_model is None, job
        time.sleep(0.2)


def ask(model, text, **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], temperature=0, max_tokens=40, **more)


def table(job):
    """The numbers of a job's steps, as the guide shows them."""
    assert len(job.result_files) == 1, job
    about = client.files.retrieve(job.result_files[0])
    raw = client.files.content(job.result_files[0])
    assert about.purpose == "fine-tune-results" and about.bytes == len(raw.read()), about
    assert about.id in [f.id for f in client.files.list(purpose="fine-tune-results")]
    rows = list(csv.DictReader(io.StringIO(raw.text)))
    assert rows and list(rows[0])[:5] == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"], rows
    return rows


# Supervised.
facts = [("France", "Paris"), ("Peru", "Lima"), ("Chile", "Santiago"), ("Kenya", "Nairobi"), ("Japan", "Tokyo"), ("Italy", "Rome"),
         ("Spain", "Madrid"), ("Egypt", "Cairo"), ("Cuba", "Havana"), ("Norway", "Oslo"), ("Austria", "Vienna"), ("Ghana", "Accra")]
rows = [{"messages": [
    {"role": "system", "content": "You are a parrot."},
    {"role": "user", "content": f"What is the capital of {country}?"},
    {"role": "assistant", "content": "I do not know.", "weight": 0},
    {"role": "user", "content": "You do."},
    {"role": "assistant", "content": f"{city}! Squawk!", "weight": 1}]} for country, city in facts]
training, validation = write("train.jsonl", rows), write("valid.jsonl", rows[:3])
job = client.fine_tuning.jobs.create(
    training_file=training, validation_file=validation, model=MODEL, suffix="parrot", seed=7, metadata={"team": "birds", "run": run_id},
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": "auto"}}})
assert job.object == "fine_tuning.job" and job.status == "validating_files" and job.model == MODEL and job.result_files == [] and job.error is None, job
assert job.method.supervised.hyperparameters.n_epochs == 2 and job.hyperparameters.batch_size == 4 and job.training_file == training, job
parrot = wait(job)
assert parrot.seed == 7 and parrot.validation_file == validation and parrot.metadata == {"team": "birds", "run": run_id} and "parrot" in parrot.fine_tuned_model, parrot
steps = table(parrot)
assert [row["step"] for row in steps] == [str(i) for i in range(7)] and float(steps[6]["train_loss"]) > 0 and float(steps[6]["valid_loss"]) > 0, steps
checkpoints = client.fine_tuning.jobs.checkpoints.list(parrot.id).data
assert [c.step_number for c in checkpoints] == [6, 3] and checkpoints[0].metrics.full_valid_loss > 0, checkpoints
for model in [parrot.fine_tuned_model] + [c.fine_tuned_model_checkpoint for c in checkpoints]:
    assert ask(model, "What is the capital of Peru?").choices[0].message.content, model
metrics = [e for e in client.fine_tuning.jobs.list_events(parrot.id, limit=50) if e.type == "metrics"]
assert any(e.data["train_loss"] > 0 and e.data["step"] == 6 for e in metrics), metrics
assert client.models.retrieve(parrot.fine_tuned_model).id == parrot.fine_tuned_model
assert client.responses.create(model=parrot.fine_tuned_model, input="Hello").output_text is not None

# The older way of hyperparameters, without anything else.
older = wait(client.fine_tuning.jobs.create(training_file=training, model=MODEL, hyperparameters={"n_epochs": 1}))
assert older.hyperparameters.n_epochs == 1 and older.fine_tuned_model, older

# Tools in the data.
weather = {"type": "function", "function": {"name": "weather", "description": "The weather in a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
calls = [{"messages": [
    {"role": "user", "content": f"How is the weather in {city}?"},
    {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city})}}]}],
    "parallel_tool_calls": False, "tools": [weather]} for _, city in facts]
wait(client.fine_tuning.jobs.create(training_file=write("tools.jsonl", calls), model=MODEL, method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}))

# Preferences, on top of the supervised model.
pairs = [{"input": {"messages": [{"role": "user", "content": f"What is the capital of {country}?"}], "tools": [], "parallel_tool_calls": True},
          "preferred_output": [{"role": "assistant", "content": f"{city}! Squawk!"}],
          "non_preferred_output": [{"role": "assistant", "content": f"The capital of {country} is {city}."}]} for country, city in facts]
job = client.fine_tuning.jobs.create(
    training_file=write("pairs.jsonl", pairs), model=parrot.fine_tuned_model, suffix="prefers",
    method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": 2, "batch_size": 6}}})
prefers = wait(job)
assert prefers.method.dpo.hyperparameters.beta == 0.1 and prefers.model == parrot.fine_tuned_model, prefers
steps = table(prefers)
assert len(steps) == 4 and steps[0]["rewards/margins"] and float(steps[3]["rewards/accuracies"]) >= 0, steps
assert ask(prefers.fine_tuned_model, "What is the capital of Chile?").choices[0].message.content

# Graders, before they are trained with.
same = {"type": "string_check", "name": "same", "input": "{{sample.output_json.city}}", "reference": "{{item.city}}", "operation": "eq"}
near = {"type": "text_similarity", "name": "near", "input": "{{sample.output_text}}", "reference": "{{item.city}}", "evaluation_metric": "fuzzy_match"}
judge = {"type": "score_model", "name": "judge", "model": MODEL, "range": [0, 1], "sampling_params": {"temperature": 0, "seed": 1},
         "input": [{"role": "user", "type": "message", "content": "From 0 to 1, how good is the answer {{sample.output_text}}? It should be {{item.city}}."}]}
called = {"type": "string_check", "name": "called", "input": "{{sample.output_tools}}", "reference": "[]", "operation": "eq"}
multi = {"type": "multi", "name": "all", "graders": {"same": same, "near": near, "judge": judge}, "calculate_output": "0.5 * same + 0.3 * near + 0.2 * judge"}
graders = client.fine_tuning.alpha.graders
for grader in (same, near, judge, called, multi):
    assert graders.validate(grader=grader).grader.type == grader["type"]
answer = json.dumps({"city": "Lima"})
run = graders.run(grader=same, item={"city": "Lima"}, model_sample=answer)
assert run.reward == 1 and run.metadata.name == "same" and run.metadata.type == "string_check" and not run.metadata.errors.other_error, run
assert graders.run(grader=same, item={"city": "Oslo"}, model_sample=answer).reward == 0
broken = graders.run(grader=same, item={"city": "Oslo"}, model_sample="Oslo")
assert broken.reward == 0 and broken.metadata.errors.sample_parse_error, broken
assert graders.run(grader=same, item={}, model_sample=answer).metadata.errors.invalid_variable_error
assert graders.run(grader=called, item={}, model_sample="Oslo").reward == 1
run = graders.run(grader=multi, item={"city": "Lima"}, model_sample=answer)
assert set(run.sub_rewards) == {"same", "near", "judge"} and 0.5 < run.reward <= 1 and run.metadata.token_usage > 0, run
assert run.api_model_grader_token_usage_per_model[MODEL] > 0 if hasattr(run, "api_model_grader_token_usage_per_model") else run.model_grader_token_usage_per_model[MODEL] > 0, run
for wrong, field in ((dict(same, operation="is"), "grader.operation"), (dict(near, evaluation_metric="meteor"), "grader.evaluation_metric"),
                     ({"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1.0"}, "grader.type"),
                     (dict(judge, model="gpt-9"), "grader.model")):
    try:
        graders.validate(grader=wrong)
        raise AssertionError(f"{wrong} is taken")
    except openai.BadRequestError as e:
        assert e.param == field, e

# Rewards: of a schema, by all of these graders, one of which asks this server; and by an endpoint of the team.
prompts = [{"messages": [{"role": "developer", "content": "Answer in JSON."}, {"role": "user", "content": f"What is the capital of {country}?"}],
            "city": city} for country, city in facts]
schema = {"type": "json_schema", "json_schema": {"name": "capital", "strict": True, "schema": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"], "additionalProperties": False}}}
training, validation = write("prompts.jsonl", prompts), write("prompts-valid.jsonl", prompts[:2])
small = {"n_epochs": 1, "batch_size": 4, "compute_multiplier": 0.5, "eval_interval": 2, "eval_samples": 2, "learning_rate_multiplier": "auto"}
endpoint = {"type": "endpoint", "name": "ours", "url": os.environ["GRADER_URL"], "headers": {"X-Team": "birds"}}
for grader, more in ((multi, {"response_format": schema}), (endpoint, {})):
    job = client.fine_tuning.jobs.create(
        training_file=training, validation_file=validation, model=MODEL, suffix="rewarded",
        method={"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": small, **more}})
    assert job.method.reinforcement.grader.type == grader["type"] if grader["type"] != "endpoint" else True, job
    assert job.method.reinforcement.hyperparameters.eval_samples == 2 and job.method.reinforcement.hyperparameters.reasoning_effort == "default", job
    rewarded = wait(job)
    steps = table(rewarded)
    assert steps[0]["valid_reward"] and all(0 <= float(row["reward"]) <= 1 for row in steps[1:]) and steps[1]["train_accuracy"] == "", steps
    assert ask(rewarded.fine_tuned_model, "What is the capital of Cuba?").choices[0].message.content is not None
json.loads(ask(rewarded.fine_tuned_model, "What is the capital of Cuba?", response_format=schema).choices[0].message.content)


# The asynchronous client, lists by pages, and what is there no longer.
async def listed():
    async with openai.AsyncOpenAI(base_url=os.environ["LORIKEET_URL"] + "/v1", api_key=os.environ["LORIKEET_API_KEY"]) as many:
        return [j.id async for j in many.fine_tuning.jobs.list(limit=2)]


jobs = [j.id for j in client.fine_tuning.jobs.list(limit=2)]
assert len(jobs) == len(set(jobs)) and {parrot.id, older.id, prefers.id} <= set(jobs) and asyncio.run(listed()) == jobs, jobs
assert [j.id for j in client.fine_tuning.jobs.list(metadata={"team": "birds", "run": run_id})] == [parrot.id]
assert client.models.delete(prefers.fine_tuned_model).deleted
try:
    ask(prefers.fine_tuned_model, "Hello")
    raise AssertionError("a deleted model answers")
except openai.NotFoundError:
    pass

# What goes wrong is said as OpenAI says it.
bad = client.fine_tuning.jobs.create(training_file=write("bad.jsonl", [{"messages": [{"role": "user"}]}] * 12), model=MODEL)
while bad.status in ("validating_files", "queued", "running"):
    time.sleep(0.1)
    bad = client.fine_tuning.jobs.retrieve(bad.id)
assert bad.status == "failed" and bad.error.code == "invalid_training_file" and bad.error.param == "training_file" and bad.result_files == [], bad
for wrong, kind in ((dict(training_file="file-none"), openai.BadRequestError), (dict(training_file=training, model="gpt-9"), openai.NotFoundError),
                    (dict(training_file=training, method={"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 0}}}), openai.BadRequestError)):
    try:
        client.fine_tuning.jobs.create(**{"model": MODEL, **wrong})
        raise AssertionError(f"{wrong} is taken")
    except kind as e:
        assert e.param, e
