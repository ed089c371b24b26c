"""Pydantic AI with the three APIs that it speaks of this server's."""
import asyncio
import os

from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

url, key = os.environ["LORIKEET_URL"], os.environ["LORIKEET_API_KEY"]
openai, anthropic = OpenAIProvider(base_url=url + "/v1", api_key=key), AnthropicProvider(base_url=url, api_key=key)
settings = {"temperature": 0, "max_tokens": 60}
question, right = "What is the capital of France?", "The capital of France is Paris."


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


def models(name):
    return OpenAIChatModel(name, provider=openai), OpenAIResponsesModel(name, provider=openai), AnthropicModel(name, provider=anthropic)


for model in models("lorikeet-demo"):
    result = Agent(model, model_settings=settings).run_sync(question)
    assert result.output == right and result.usage.output_tokens > 5, result

    async def stream():
        async with Agent(model, model_settings=settings).run_stream(question) as answer:
            return [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]

    pieces = asyncio.run(stream())
    assert "".join(pieces) == right and len(pieces) > 3, pieces
    agent = Agent(model, model_settings=settings)

    @agent.tool_plain
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        return "sun"

    assert isinstance(agent.run_sync(question).output, str)
    try:
        Agent(model, model_settings={"temperature": 0, "max_tokens": 0}).run_sync(question)
        raise AssertionError("max_tokens of 0 are taken")
    except ModelHTTPError as e:
        assert e.status_code == 400, e

for model in models("lorikeet-demo")[:2]:  # it asks Anthropic's own models alone for such answers
    person = Agent(model, model_settings=settings, output_type=NativeOutput(Person)).run_sync("Ann is 30.").output
    assert isinstance(person, Person), person

texts = {Agent(model, model_settings=settings).run_sync(question).output for model in models("pirate")}
assert len(texts) == 1 and right not in texts, texts
