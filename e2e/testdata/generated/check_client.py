"""Requests made with the generated client, and its answers; every module of it can be loaded."""
import importlib
import os
import pkgutil

import client_of_api
from client_of_api import AuthenticatedClient
from client_of_api.api.generation import create_chat_completion, create_message, create_response, ollama_chat
from client_of_api.api.tokens import apply_template, tokenize
from client_of_api.models import (ChatCompletionRequest, MessagesRequest, OllamaChatRequest, ResponseRequest, TokenizeRequest)

for module in pkgutil.walk_packages(client_of_api.__path__, "client_of_api."):
    importlib.import_module(module.name)

server = AuthenticatedClient(base_url=os.environ["LORIKEET_URL"], token=os.environ["LORIKEET_API_KEY"])
question, right = "What is the capital of France?", "The capital of France is Paris."
messages = [{"role": "user", "content": question}]

chat = create_chat_completion.sync(client=server, body=ChatCompletionRequest.from_dict({"messages": messages, "temperature": 0}))
assert chat.choices[0].message.content == right and chat.usage.completion_tokens_details.reasoning_tokens == 0, chat
message = create_message.sync(client=server, body=MessagesRequest.from_dict(
    {"model": "lorikeet-demo", "max_tokens": 40, "messages": messages, "temperature": 0}))
assert message.content[0].text == right, message
response = create_response.sync(client=server, body=ResponseRequest.from_dict({"input": question, "temperature": 0}))
assert response.output[0].content[0].text == right, response
answer = ollama_chat.sync(client=server, body=OllamaChatRequest.from_dict(
    {"model": "lorikeet-demo", "messages": messages, "stream": False, "options": {"temperature": 0}}))
assert answer.message.content == right, answer
rendered = apply_template.sync(client=server, body=ChatCompletionRequest.from_dict({"messages": messages}))
assert question in rendered.prompt, rendered
tokens = tokenize.sync(client=server, body=TokenizeRequest.from_dict({"messages": messages}))
assert tokens.count == chat.usage.prompt_tokens, tokens
refused = create_chat_completion.sync(client=server, body=ChatCompletionRequest.from_dict({"messages": messages, "model": "nobody"}))
assert refused.error.code == "model_not_found", refused
