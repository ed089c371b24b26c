"""LangChain's three libraries that speak with this server: for OpenAI's API, for Anthropic's and for Ollama's."""
import os

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

url, key = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"]
header = {"headers": {"Authorization": "Bearer " + key}}
question, right = "What is the capital of France?", "The capital of France is Paris."


class Person(BaseModel):
    """A person."""
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return "sun"


def chats(model="lorikeet-demo"):
    openai = {"base_url": url + "/v1", "api_key": key, "model": model, "temperature": 0, "max_tokens": 60}
    yield "openai", ChatOpenAI(**openai)
    yield "responses", ChatOpenAI(**openai, use_responses_api=True)
    yield "anthropic", ChatAnthropic(base_url=url, api_key=key, model=model, temperature=0, max_tokens=60)
    yield "ollama", ChatOllama(base_url=url, model=model, temperature=0, num_predict=60, client_kwargs=header)


for name, chat in chats():
    answer = chat.invoke(question)
    assert answer.text == right, (name, answer)
    assert answer.usage_metadata["output_tokens"] > 5, (name, answer.usage_metadata)
    assert "".join(chunk.text for chunk in chat.stream(question)) == right, name
    person = chat.with_structured_output(Person).invoke("Ann is 30.")
    assert isinstance(person, Person), (name, person)
    if name == "ollama":
        continue  # its API has no choice of tools
    call = chat.bind_tools([weather], tool_choice="weather").invoke("Weather in Rome?").tool_calls[0]
    assert call["name"] == "weather" and isinstance(call["args"]["city"], str), (name, call)
    whole = None
    for chunk in chat.bind_tools([weather], tool_choice="weather").stream("Weather in Rome?"):
        whole = chunk if whole is None else whole + chunk
    assert whole.tool_calls[0]["args"] == call["args"], (name, whole)

texts = {chat.invoke(question).text for _, chat in chats("pirate")}
assert len(texts) == 1 and right not in texts, texts

embeddings = OpenAIEmbeddings(base_url=url + "/v1", api_key=key, model="lorikeet-demo", check_embedding_ctx_length=False)
vectors = embeddings.embed_documents(["a", "b"])
assert len(vectors) == 2 and vectors[0] != vectors[1], vectors
other = OllamaEmbeddings(base_url=url, model="lorikeet-demo", client_kwargs=header).embed_query("a")
assert all(abs(x - y) < 1e-5 for x, y in zip(vectors[0], other)), (vectors[0][:4], other[:4])
