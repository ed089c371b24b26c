# Computes what PEFT computes with an activated LoRA. Reads a JSON object from stdin: {"model": folder, "adapter": folder,
# "prompts": [[token, ...], ...], "new": n}, and writes one to the file alora.json in the adapter's folder: {"logits": [for
# each prompt (tokens, vocabulary)], "answers": [for each prompt the n tokens that greedy generation appends]}.
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
request = json.load(sys.stdin)
base = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32, attn_implementation="eager")
model = PeftModel.from_pretrained(base, request["adapter"])
model.eval()
model.generation_config.eos_token_id = None
out = {"logits": [], "answers": []}
with torch.no_grad():
    for prompt in request["prompts"]:
        ids = torch.tensor([prompt])
        out["logits"].append(model(input_ids=ids).logits[0].tolist())
        answer = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=request["new"], do_sample=False)
        out["answers"].append(answer[0, len(prompt):].tolist())
with open(os.path.join(request["adapter"], "alora.json"), "w") as f:
    json.dump(out, f)
