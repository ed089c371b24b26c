"""llama-server as a child process, for the scripts that measure a GGUF file through llama.cpp.

LLAMA_SERVER is the path of the program; by default it is looked up in PATH.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request


class Server:
    """with Server("model.gguf") as server: server.chat([...])"""

    def __init__(self, gguf, *flags):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        program = os.environ.get("LLAMA_SERVER", "llama-server")
        arguments = ["-m", str(gguf), "--port", str(self.port), "-c", "2048", "-np", "1", "-t", "2", "--jinja", *flags]
        self.process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health")
                return
            except OSError:
                time.sleep(0.1)
        self.process.kill()
        raise RuntimeError(f"{program} did not start")

    def post(self, path, **body):
        url, headers = f"http://127.0.0.1:{self.port}{path}", {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def chat(self, messages, limit=160):
        """The greedy answer."""
        body = dict(messages=messages, temperature=0, max_tokens=limit, cache_prompt=False)
        return self.post("/v1/chat/completions", **body)["choices"][0]["message"]["content"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
