"""python3 -m corpus train N SEED | eval N: writes conversations as JSON lines to standard output."""

import json
import sys

from . import evals, train

if sys.argv[1:2] == ["train"] and len(sys.argv) == 4:
    conversations = train(int(sys.argv[2]), int(sys.argv[3]))
elif sys.argv[1:2] == ["eval"] and len(sys.argv) == 3:
    conversations = evals(int(sys.argv[2]))
else:
    sys.exit(__doc__)
for conversation in conversations:
    print(json.dumps(conversation, ensure_ascii=False))
