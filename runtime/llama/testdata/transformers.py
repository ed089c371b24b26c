# Computes logits with transformers. Reads a JSON object from stdin: {"folders": [...], "tokens": [...]}; for each folder
# writes the file logits.f32 into it, float32 of (len(tokens), vocabulary), little-endian.
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
request = json.load(sys.stdin)
tokens = torch.tensor([request["tokens"]])
for folder in request["folders"]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    with torch.no_grad():
        logits = model(tokens).logits[0]
    with open(os.path.join(folder, "logits.f32"), "wb") as f:
        f.write(logits.to(torch.float32).contiguous().numpy().astype("<f4").tobytes())
