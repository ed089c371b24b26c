# What PEFT's LoRA of one linear layer begins with. Reads the weight and the settings from a JSON file; prints JSON.
import json
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

torch.manual_seed(1)
q = json.load(open(sys.argv[1]))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(q["in"], q["out"], bias=False)
        self.linear.weight.data = torch.tensor(q["weight"], dtype=torch.float32).reshape(q["out"], q["in"]).clone()

    def forward(self, x):
        return self.linear(x)


config = LoraConfig(r=q["rank"], lora_alpha=q["scale"] * q["rank"], target_modules=["linear"], init_lora_weights=q["init"], use_dora=q["dora"])
model = get_peft_model(Model(), config)
layer = model.base_model.model.linear
a, b = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data
size = lambda x: x.pow(2).mean().sqrt().item()
answer = {"product": (layer.scaling["default"] * b @ a).flatten().tolist(), "size_a": size(a), "size_b": size(b), "saved": q["rank"], "difference": 0}
if q["dora"]:
    answer["magnitude"] = layer.lora_magnitude_vector["default"].weight.flatten().tolist()
elif isinstance(q["init"], str) and (q["init"].startswith("pissa") or q["init"] == "olora"):
    with tempfile.TemporaryDirectory() as start, tempfile.TemporaryDirectory() as end:
        model.peft_config["default"].init_lora_weights = True  # as PEFT's documentation asks before the start is saved
        model.save_pretrained(start)
        a += 0.01 * torch.randn_like(a)
        model.peft_config["default"].init_lora_weights = q["init"]
        model.save_pretrained(end, path_initial_model_for_weight_conversion=start)
        tensors = load_file(end + "/adapter_model.safetensors")
        answer["saved"] = next(t.shape[0] for name, t in tensors.items() if "lora_A" in name)
        x = torch.randn(5, q["in"])
        got, want = PeftModel.from_pretrained(Model(), end)(x), model(x)
        answer["difference"] = ((got - want).norm() / want.norm()).item()
print(json.dumps(answer))
