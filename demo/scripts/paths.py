"""Where things lie, whatever directory a script is started in."""

from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent
BASE = DEMO / "demo-base.f16.gguf"
TOKENIZER = DEMO / "tokenizer.json"
EVAL = DEMO / "eval.jsonl"
DATA = DEMO / "data"
ADAPTERS = DEMO / "adapters"
GOLDEN = DEMO / "golden.json"
