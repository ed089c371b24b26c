# Trains with Tinker's SDK until the server is killed, and goes on from what it has saved. The environment has TINKER_BASE_URL and
# TINKER_API_KEY. `train` prints "loss N X" after each step, "saved N PATH" after a checkpoint, and at last "error", whether its type
# is one of the SDK's, the type and the text; "train-long" begins a long call after ten steps, and prints "waits" while it waits for that.
# `resume N PATH` prints the losses of the next two steps, of a client that is made from the checkpoint and of another one that loads it.
import os
import sys
import time
import warnings

warnings.simplefilter("ignore")
import tinker
from tinker import types

service = tinker.ServiceClient()
rest = tinker.RestClient() if hasattr(tinker, "RestClient") else service.create_rest_client()


def done(future):
    """The result of a call, whether the SDK gives a future or the thing itself."""
    return future.result() if hasattr(future, "result") else future


base = done((rest if hasattr(rest, "get_server_capabilities") else service).get_server_capabilities()).supported_models[0].model_name


def batch(n, count, length):
    """Data that depends on the number n alone."""
    data = []
    for i in range(count):
        tokens = [10 + (7 * n + 3 * i + j) % 90 for j in range(length + 1)]
        data.append(types.Datum(model_input=types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs={"target_tokens": tokens[1:], "weights": [1.0] * length}))
    return data


def step(client, n):
    data = batch(n, 4, 23)
    forward, update = client.forward_backward(data, "cross_entropy"), client.optim_step(types.AdamParams(learning_rate=1e-3))
    loss = forward.result().metrics["loss:sum"]
    update.result()
    return loss


if sys.argv[1].startswith("train"):
    client = done(service.create_lora_training_client(base_model=base, rank=8, seed=1))
    try:
        for n in range(10**6):
            print("loss", n, step(client, n), flush=True)
            if n == 10 and sys.argv[1] == "train-long":
                long = client.forward_backward(batch(0, 1000, 200), "cross_entropy")
                time.sleep(1)  # until it is sent
                print("waits", flush=True)
                long.result()
            if n % 3 == 2:
                print("saved", n, client.save_state(f"step-{n}").result().path, flush=True)
    except Exception as e:
        known = "known" if isinstance(e, tinker.TinkerError) else "unknown"
        print("error", known, type(e).__name__, str(e)[:300].replace("\n", " "), flush=True)
        os._exit(0)  # the SDK's threads go on
else:
    n, path = int(sys.argv[2]), sys.argv[3]
    made = done(service.create_training_client_from_state_with_optimizer(path))
    loaded = done(service.create_lora_training_client(base_model=base, rank=8, seed=2))
    loaded.load_state_with_optimizer(path).result()
    for client in made, loaded:
        for i in 1, 2:
            print("loss", n + i, step(client, n + i), flush=True)
