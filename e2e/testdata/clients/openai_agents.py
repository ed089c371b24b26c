"""OpenAI's library of agents, with both of the APIs that it speaks."""
import asyncio
import os
from typing import Literal

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel

set_tracing_disabled(True)
server = AsyncOpenAI(base_url=os.environ["LORIKEET_URL"] + "/v1", api_key=os.environ["LORIKEET_API_KEY"])
question = "What is the capital of France?"


class Capital(BaseModel):
    found: bool
    name: Literal["Paris", "Rome"]


called = []


@function_tool
def weather(sunny: bool) -> str:
    """Tell the weather."""
    called.append(sunny)
    return "sun"


async def main():
    for model in (OpenAIChatCompletionsModel("lorikeet-demo", server), OpenAIResponsesModel("lorikeet-demo", server)):
        def agent(settings=None, **fields):
            return Agent(name="A", instructions="Be brief.", model=model, model_settings=ModelSettings(temperature=0, max_tokens=150, **(settings or {})), **fields)

        plain = await Runner.run(agent(), question)
        assert "Paris" in plain.final_output, plain.final_output
        streamed = Runner.run_streamed(agent(), question)
        events = [event async for event in streamed.stream_events()]
        assert streamed.final_output == plain.final_output and len(events) > 5, streamed.final_output
        typed = await Runner.run(agent(output_type=Capital), question)
        assert isinstance(typed.final_output, Capital), typed.final_output
        thinking = await Runner.run(agent({"reasoning": Reasoning(effort="low", summary="auto")}), question)
        assert thinking.final_output == plain.final_output, thinking.final_output
        called.clear()
        forced = await Runner.run(agent({"tool_choice": "weather"}, tools=[weather], tool_use_behavior="stop_on_first_tool"), question)
        assert len(called) == 1 and forced.final_output == "sun", (called, forced.final_output)


asyncio.run(main())
