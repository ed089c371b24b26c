# Runs Tinker's SDK against the server as its documentation shows: a supervised loop, reinforcement learning with samples of the
# same server, a loss of one's own, checkpoints. The environment has TINKER_BASE_URL and TINKER_API_KEY; TOLERANCE is how far
# log-probabilities of training and of sampling may be apart; TORCH is a folder of packages with torch.
import math
import os
import site

site.addsitedir(os.environ["TORCH"])
import numpy as np
import tinker
import torch
from tinker import types

tolerance = float(os.environ["TOLERANCE"])
rank = int(os.environ.get("RANK", "16"))


def done(future):
    """The result of a call, whether the SDK gives a future or the thing itself."""
    return future.result() if hasattr(future, "result") else future


service = tinker.ServiceClient(user_metadata={"run": "test"})
rest = tinker.RestClient() if hasattr(tinker, "RestClient") else service.create_rest_client()
models = done((rest if hasattr(rest, "get_server_capabilities") else service).get_server_capabilities()).supported_models
base = models[0].model_name
assert models[0].max_context_length > 0, models

with_state = lambda path, optimizer: done(
    (service.create_training_client_from_state_with_optimizer if optimizer else service.create_training_client_from_state)(path)
)


def tokens(text, **body):
    """The tokens of a text, or of a conversation, which the server splits."""
    import httpx

    key = {"X-API-Key": os.environ["TINKER_API_KEY"]}
    r = httpx.post(os.environ["TINKER_BASE_URL"] + "/tokenize", json=body or {"content": text}, headers=key)
    r.raise_for_status()
    return r.json()["tokens"]


def datum(prompt, answer):
    """A sequence of which the answer is learned."""
    all = prompt + answer
    weights = [0.0] * (len(prompt) - 1) + [1.0] * len(answer)
    return types.Datum(model_input=types.ModelInput.from_ints(all[:-1]), loss_fn_inputs={"target_tokens": all[1:], "weights": weights})


def logprobs(result, i):
    return np.asarray(result.loss_fn_outputs[i]["logprobs"].data, dtype=np.float64)


questions = ["What is the capital of France?", "Who are you?", "How are you today?"]
answers = [" Ahoy, it be Paris, matey.", " I be a parrot.", " Shipshape, aye."]
data = [datum(tokens(q), tokens(a)) for q, a in zip(questions, answers)]
adam = types.AdamParams(learning_rate=2e-3)

def apart(result, sampler, what):
    """Training and sampling agree on what the sequences of data are worth."""
    worst = 0.0
    for i, d in enumerate(data):
        whole = d.model_input.to_ints() + [int(d.loss_fn_inputs["target_tokens"].data[-1])]
        sampled = sampler.compute_logprobs(types.ModelInput.from_ints(whole)).result()
        assert sampled[0] is None or math.isnan(sampled[0])
        worst = max(worst, np.abs(np.asarray(sampled[1:], dtype=np.float64) - logprobs(result, i)).max())
    print(what, "log-probabilities differ by", worst)
    assert worst <= tolerance, (what, worst, tolerance)


# A supervised loop; the calls of a step are sent before the first is waited for.
client = done(service.create_lora_training_client(base_model=base, rank=rank, seed=7))
info = done(client.get_info())
assert info.lora_rank == rank and info.model_data.model_name == base, info
fresh = client.forward(data, "cross_entropy").result()  # the adapter changes nothing yet
apart(fresh, done(service.create_sampling_client(base_model=base)), "base's")
first = last = None
for step in range(8):
    forward, update = client.forward_backward(data, "cross_entropy"), client.optim_step(adam)
    last = forward.result().metrics["loss:sum"]
    assert update.result().metrics["grad_norm"] > 0
    first = first or last
assert last < 0.5 * first, (first, last)
result = client.forward(data, "cross_entropy").result()
expected = -sum((logprobs(result, i) * np.asarray(d.loss_fn_inputs["weights"].data)).sum() for i, d in enumerate(data))
assert math.isclose(result.metrics["loss:sum"], expected, rel_tol=1e-4), (result.metrics, expected)

sampler = done(client.save_weights_and_get_sampling_client())
apart(result, sampler, "trained")

# Samples: as many as asked for, the same for the same seed, with the alternatives and the scores of the prompt.
prompt = types.ModelInput.from_ints(tokens(questions[0]))
params = types.SamplingParams(max_tokens=12, seed=3, temperature=1.0)
a, b = (sampler.sample(prompt, 4, params).result() for _ in range(2))
assert [list(s.tokens) for s in a.sequences] == [list(s.tokens) for s in b.sequences]
assert len({tuple(s.tokens) for s in a.sequences}) > 1, "four samples at temperature 1 are equal"
assert all(len(s.logprobs) == len(s.tokens) for s in a.sequences)
greedy = sampler.sample(prompt, 1, types.SamplingParams(max_tokens=32, temperature=0), include_prompt_logprobs=True, topk_prompt_logprobs=2).result()
assert len(greedy.topk_prompt_logprobs) == prompt.length and len(greedy.prompt_logprobs) == prompt.length
assert list(greedy.sequences[0].tokens)[: len(tokens(answers[0])) - 1] == tokens(answers[0])[:-1], "what was learned is not said"
stop = tokens(answers[0])[2]
short = sampler.sample(prompt, 1, types.SamplingParams(max_tokens=32, temperature=0, stop=[stop])).result().sequences[0]
assert list(short.tokens)[-1] == stop and short.stop_reason == "stop", short
text = sampler.sample(prompt, 1, types.SamplingParams(max_tokens=32, temperature=0, stop=["Paris"])).result().sequences[0]
assert text.stop_reason == "stop" and len(text.tokens) < len(greedy.sequences[0].tokens), text
capped = sampler.sample(prompt, 1, types.SamplingParams(max_tokens=2, temperature=0)).result().sequences[0]
assert capped.stop_reason == "length" and len(capped.tokens) == 2, capped

# Calls in many parts add up to the same gradients as one call, and a forward pass adds none.
norms = []
for parts in [[data], [[d] for d in data]]:
    one = done(service.create_lora_training_client(base_model=base, rank=rank, seed=11))
    for part in parts:
        one.forward_backward(part, "cross_entropy").result()
        one.forward(data, "cross_entropy").result()
    norms.append(one.optim_step(adam).result().metrics["grad_norm"])
assert math.isclose(norms[0], norms[1], rel_tol=1e-3), norms

# Reinforcement learning: tokens of even numbers are better.
turn = types.ModelInput.from_ints(tokens("", messages=[{"role": "user", "content": "Who are you?"}], add_generation_prompt=True))
policy = done(service.create_lora_training_client(base_model=base, rank=rank, seed=5))
means, gains = [], []  # of rewards; of what is better than its group in a step
for step in range(6):
    sampler = done(policy.save_weights_and_get_sampling_client())
    group = sampler.sample(turn, 8, types.SamplingParams(max_tokens=16, temperature=3.0, seed=step)).result().sequences
    rewards = np.asarray([np.mean([1.0 - int(t) % 2 for t in s.tokens]) for s in group])
    means.append(rewards.mean())
    batch = []
    for s, r in zip(group, rewards - rewards.mean()):
        ob, ac = turn.to_ints(), [int(t) for t in s.tokens]
        batch.append(types.Datum(model_input=types.ModelInput.from_ints((ob + ac)[:-1]), loss_fn_inputs={
            "target_tokens": (ob + ac)[1:],
            "logprobs": [0.0] * (len(ob) - 1) + [float(x) for x in s.logprobs],
            "advantages": [0.0] * (len(ob) - 1) + [float(r)] * len(ac),
        }))
    learned = policy.forward_backward(batch, ["importance_sampling", "ppo", "cispo"][step % 3])
    policy.optim_step(types.AdamParams(learning_rate=1e-2))
    out = learned.result()
    assert math.isfinite(out.metrics["loss:sum"]), out.metrics
    if step == 0:  # the weights that sampled are those that are trained
        off = max(np.abs(logprobs(out, i)[turn.length - 1:] - np.asarray(s.logprobs)).max() for i, s in enumerate(group))
        print("samples' log-probabilities differ by", off)
        assert off <= tolerance, (off, tolerance)
    advantages = [np.asarray(d.loss_fn_inputs["advantages"].data) for d in batch]
    worth = lambda r: sum((logprobs(r, i) * a).sum() for i, a in enumerate(advantages))
    if np.abs(rewards - rewards.mean()).max() > 0:
        same = [types.Datum(model_input=d.model_input, loss_fn_inputs={"target_tokens": d.loss_fn_inputs["target_tokens"]}) for d in batch]
        gains.append(worth(policy.forward(same, "cross_entropy").result()) - worth(out))
print("rewards", means, "gains", gains)
assert gains and gains[0] > 0, gains
assert policy.forward(batch, "dro", {"beta": 0.1}).result().metrics["loss:sum"] is not None

# DPO as a loss of one's own: pairs, of which the first is to be preferred.
pairs = [datum(tokens(questions[0]), tokens(a)) for a in (" It is Paris.", " It is Rome.")]
dpo = done(service.create_lora_training_client(base_model=base, rank=rank, seed=9))
reference = [torch.tensor(logprobs(dpo.forward(pairs, "cross_entropy").result(), i)) for i in range(2)]


def loss(data, lps):
    mask = [torch.tensor(d.loss_fn_inputs["weights"].data) for d in data]
    chosen, rejected = (((lps[i] - reference[i]) * mask[i]).sum() for i in range(2))
    value = -torch.nn.functional.logsigmoid(0.5 * (chosen - rejected))
    return value, {"margin": float(chosen - rejected)}


margins = []
for step in range(6):
    out = done(dpo.forward_backward_custom(pairs, loss))
    dpo.optim_step(adam).result()
    margins.append(out.metrics["margin"])
assert abs(margins[0]) < 1e-3 and margins[-1] > 1, margins

# Checkpoints. Training that goes on from one with the optimizer's state is as if it had never stopped.
path = client.save_state("step-8").result().path
assert path == f"tinker://{client.model_id}/weights/step-8", path
resumed, weights_only = with_state(path, True), with_state(path, False)
losses = []
for c in (client, resumed, weights_only):
    for step in range(2):
        out = c.forward_backward(data, "cross_entropy")
        c.optim_step(adam).result()
    losses.append(out.result().metrics["loss:sum"])
assert losses[0] == losses[1] and losses[0] != losses[2], losses
try:
    client.save_state("step-8").result()
    raise SystemExit("a checkpoint was overwritten")
except tinker.RequestFailedError as e:
    assert "overwrite" in str(e), e
kept = client.save_weights_for_sampler("final", ttl_seconds=3600).result().path
stored = done(service.create_sampling_client(model_path=kept))
apart(client.forward(data, "cross_entropy").result(), stored, "stored")
again = stored.sample(prompt, 1, types.SamplingParams(max_tokens=32, temperature=0)).result()
assert len(again.sequences[0].tokens) > 0
plain = done(service.create_sampling_client(base_model=base)).sample(prompt, 1, types.SamplingParams(max_tokens=8, temperature=0)).result()
assert list(plain.sequences[0].tokens) != list(again.sequences[0].tokens)[:8]

run = done(rest.get_training_run(client.model_id))
assert run.last_checkpoint.tinker_path == path and run.lora_rank == rank, run
listed = {c.tinker_path for c in done(rest.list_checkpoints(client.model_id)).checkpoints}
assert listed == {path, kept}, listed
assert done(rest.list_training_runs()).cursor.total_count >= 1
facts = done(rest.get_weights_info_by_tinker_path(kept))
assert facts.lora_rank == rank and facts.base_model == base, facts
done(rest.publish_checkpoint_from_tinker_path(kept))
done(rest.set_checkpoint_ttl_from_tinker_path(kept, 7200))
done(rest.delete_checkpoint_from_tinker_path(path))
left = done(rest.list_checkpoints(client.model_id)).checkpoints
assert [c.tinker_path for c in left] == [kept] and left[0].public, left
if hasattr(rest, "get_checkpoint_archive_url_from_tinker_path"):
    import io
    import urllib.request
    import zipfile

    url = done(rest.get_checkpoint_archive_url_from_tinker_path(kept)).url
    names = zipfile.ZipFile(io.BytesIO(urllib.request.urlopen(url).read())).namelist()
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(names), names
print("PATH", kept)

# What cannot be is refused with its name.
try:
    client.forward_backward([datum([1, 2, 3], [10**6])], "cross_entropy").result()
    raise SystemExit("a token that there is not was taken")
except tinker.TinkerError as e:
    assert "target_tokens" in str(e) or "vocabulary" in str(e), e
print("ok")
