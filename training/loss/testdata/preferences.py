"""Trains an adapter with TRL by three methods, each for ten steps from the same start, and writes down what each step
learned from and what it reported. Arguments: the model's folder, the adapter's, a file with examples, the file to write.
A text of an example is a list of token ids, each a word; all end with the same token."""
import json, os, sys

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TRL_EXPERIMENTAL_SILENCE="1", HF_HOME=os.path.dirname(sys.argv[4]))

import torch
from datasets import Dataset
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

model_folder, adapter_folder, examples_file, out_file = sys.argv[1:]
torch.set_num_threads(1)
examples = json.load(open(examples_file))
words = Tokenizer(models.WordLevel({str(i): i for i in range(json.load(open(model_folder + "/config.json"))["vocab_size"])}, unk_token="0"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
end = examples[0]["chosen"].split()[-1]
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=end, pad_token=end)


def sequences(tokens, seen, learned):
    """The rows of a padded batch without their padding: tokens, and which of them are learned."""
    rows = zip(tokens.tolist(), seen.tolist(), learned.tolist())
    return [{"tokens": [t for t, s in zip(ts, ss) if s], "learned": [bool(l) for l, s in zip(ls, ss) if s]} for ts, ss, ls in rows]


def batch_of(x):
    if "concatenated_input_ids" in x or "chosen_input_ids" in x:  # ORPO
        chosen = sequences(x["chosen_input_ids"], x["chosen_attention_mask"], x["chosen_labels"] != -100)
        return {"sequences": chosen + sequences(x["rejected_input_ids"], x["rejected_attention_mask"], x["rejected_labels"] != -100)}
    batch = {"sequences": sequences(x["input_ids"], x["attention_mask"], x["completion_mask"])}
    if "label" in x:  # KTO
        batch["desirable"] = [bool(d) for d in x["label"]]
        batch["others"] = sequences(x["KL_input_ids"], x["KL_attention_mask"], x["KL_completion_mask"])
    return batch


def train(trainer, config, data, **more):
    steps = []

    class Recorded(trainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            batch = batch_of(inputs)
            loss = super().compute_loss(model, inputs, *args, **kwargs)
            steps.append(batch | {"loss": loss.item()})
            return loss

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, adapter_folder, is_trainable=True)
    settings = config(
        output_dir=os.path.join(os.path.dirname(out_file), "run"), per_device_train_batch_size=4, max_steps=10, learning_rate=3e-4, lr_scheduler_type="constant",
        warmup_steps=0, max_grad_norm=1.0, weight_decay=0.0, logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False, fp16=False,
        gradient_checkpointing=False, disable_tqdm=True, dataloader_pin_memory=False, seed=1, max_length=256, **more,
    )
    run = Recorded(model=model, args=settings, train_dataset=Dataset.from_list(data), processing_class=tokenizer)
    run.train()
    for step, log in zip(steps, run.state.log_history):
        step["reported"] = {k: v for k, v in log.items() if isinstance(v, float)}
    return steps


pairs = [{k: e[k] for k in ("prompt", "chosen", "rejected")} for e in examples]
marked = [{"prompt": e["prompt"], "completion": e["chosen"] if i % 2 else e["rejected"], "label": i % 2 == 1} for i, e in enumerate(examples)]
steps = {
    "dpo": train(DPOTrainer, DPOConfig, pairs, beta=0.1),
    "orpo": train(ORPOTrainer, ORPOConfig, pairs, beta=0.1),
    "kto": train(KTOTrainer, KTOConfig, marked, beta=0.1, desirable_weight=1.0, undesirable_weight=1.5),
}
json.dump(steps, open(out_file, "w"))
