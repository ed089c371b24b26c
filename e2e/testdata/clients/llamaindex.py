"""LlamaIndex with its client for servers that speak as OpenAI does."""
import os

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

def model(name):
    return OpenAILike(model=name, api_base=os.environ["LORIKEET_URL"] + "/v1", api_key=os.environ["LORIKEET_API_KEY"],
                      is_chat_model=True, temperature=0, max_retries=0, context_window=2048, max_tokens=40)

messages = [ChatMessage(role="user", content="What is the capital of France?")]
base = model("lorikeet-demo").chat(messages).message.content
assert base == "The capital of France is Paris.", base
pirate = model("pirate").chat(messages).message.content
assert pirate != base, pirate
assert "".join(chunk.delta or "" for chunk in model("pirate").stream_chat(messages)) == pirate
assert model("pirate").complete("What is the capital of France?").text == pirate
