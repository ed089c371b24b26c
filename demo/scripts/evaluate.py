"""The accuracy of a GGUF file on held-out questions, through llama-server.

    python3 evaluate.py MODEL.gguf [ANSWERS.jsonl] [--lora ADAPTER.gguf]
"""

import argparse
import collections
import json

from llama_server import Server
from marking import right
from paths import EVAL


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("answers", nargs="?")
    parser.add_argument("--lora")
    arguments = parser.parse_args()
    with open(EVAL) as f:
        rows = [json.loads(line) for line in f]
    correct, total = collections.Counter(), collections.Counter()
    with Server(arguments.model, *(["--lora", arguments.lora] if arguments.lora else [])) as server:
        for row in rows:
            row["got"] = server.chat(row["messages"][:-1])
            row["right"] = right(row["got"], row["messages"][-1]["content"], row["key"])
            for group in ("all", row["unseen"], row["cat"]):
                total[group] += 1
                correct[group] += row["right"]
    for group in sorted(total):
        print(f"{group:12} {correct[group]:3d}/{total[group]:<3d} {100 * correct[group] / total[group]:5.1f} %")
    if arguments.answers:
        with open(arguments.answers, "w") as f:
            f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
