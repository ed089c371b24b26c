"""Requests made of the generated models, with every default that openapi.yaml states, and answers read by them."""
import json
import os
import urllib.request

import models

def post(path, request):
    body = request.model_dump_json(by_alias=True, exclude_unset=False).encode()
    sent = urllib.request.Request(os.environ["LORIKEET_URL"] + path, body, {
        "Content-Type": "application/json", "Authorization": "Bearer " + os.environ["LORIKEET_API_KEY"]})
    with urllib.request.urlopen(sent) as answer:
        return answer.read()

question, right = "What is the capital of France?", "The capital of France is Paris."
messages = [{"role": "user", "content": question}]
chat = models.ChatCompletion.model_validate_json(post("/v1/chat/completions", models.ChatCompletionRequest(messages=messages, temperature=0)))
assert chat.choices[0].message.content == right, chat
message = models.Message.model_validate_json(post("/v1/messages", models.MessagesRequest(
    model="lorikeet-demo", max_tokens=40, messages=messages, temperature=0)))
assert message.content[0].text == right, message
response = models.Response.model_validate_json(post("/v1/responses", models.ResponseRequest(input=question, temperature=0)))
assert response.output[0].content[0].text == right, response
answer = models.OllamaAnswer.model_validate_json(post("/api/chat", models.OllamaChatRequest(
    model="lorikeet-demo", messages=messages, stream=False, options={"temperature": 0})))
assert answer.message.content == right, answer
