"""lm-eval's local-completions on a task of four questions: it finds the server's tokenizer, and scores prompts."""
import json
import os

url, key = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"]
os.environ["OPENAI_API_KEY"] = key
os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = os.getcwd()

import lm_eval

questions = [("What is the capital of France?", "The capital of France is Paris.", "The capital of France is Berlin."),
             ("What is the capital of Italy?", "The capital of Italy is Rome.", "The capital of Italy is Paris."),
             ("What is the capital of Spain?", "The capital of Spain is Madrid.", "The capital of Spain is Rome."),
             ("What is the capital of Germany?", "The capital of Germany is Berlin.", "The capital of Germany is Madrid.")]
with open("questions.jsonl", "w") as f:
    for i, (question, right, wrong) in enumerate(questions):
        choices = [right, wrong] if i % 2 == 0 else [wrong, right]
        f.write(json.dumps({"question": question, "choices": choices, "answer": i % 2}) + "\n")
task = {
    "task": "capitals", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}}, "test_split": "test",
    "output_type": "multiple_choice", "doc_to_text": "<|im_start|>user\n{{question}}<|im_end|>\n<|im_start|>assistant\n",
    "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}", "target_delimiter": "",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
for model in ("lorikeet-demo", "pirate"):
    got = lm_eval.simple_evaluate(model="local-completions", tasks=[task], bootstrap_iters=0, model_args={
        "model": model, "base_url": url + "/v1/completions", "auth_token": key, "batch_size": 4, "num_concurrent": 2,
    })
    accuracy = got["results"]["capitals"]["acc,none"]
    assert accuracy == 1.0, (model, got["results"])
