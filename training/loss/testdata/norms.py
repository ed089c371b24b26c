"""Trains an adapter with whole norms (modules_to_save) with PEFT and torch's AdamW. Arguments: the model's folder, the adapter's, a
file with batches of sequences of token ids, the file to write: the loss and the gradient's norm of every step, and the adapter's
tensors as PEFT saves them, before and after."""
import json, os, sys, tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=os.path.dirname(sys.argv[4]))

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

model_folder, adapter_folder, batches_file, out_file = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
model = PeftModel.from_pretrained(model, adapter_folder, is_trainable=True)


def saved():
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(folder + "/adapter_model.safetensors")
    return {name: t.flatten().tolist() for name, t in tensors.items() if "lora_" not in name}


trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-2, betas=(0.9, 0.999), eps=1e-3, weight_decay=0)
before, steps = saved(), []
for batch in json.load(open(batches_file)):
    optimizer.zero_grad()
    n = sum(len(s) - 1 for s in batch)
    loss = 0
    for s in batch:
        ids = torch.tensor([s])
        logits = model(input_ids=ids).logits[0, :-1]
        loss = loss + torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum") / n
    loss.backward()
    steps.append({"loss": loss.item(), "grad_norm": torch.nn.utils.clip_grad_norm_(trained, 1.0).item()})
    optimizer.step()
json.dump({"steps": steps, "before": before, "after": saved(), "saved": sorted(model.peft_config["default"].modules_to_save)}, open(out_file, "w"))
