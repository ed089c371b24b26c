"""Instructor, which asks for typed answers in several ways."""
import os

import instructor
import openai
from pydantic import BaseModel, Field

server = openai.OpenAI(base_url=os.environ["LORIKEET_URL"] + "/v1", api_key=os.environ["LORIKEET_API_KEY"])
messages = [{"role": "user", "content": "Ann is 30."}]


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(server, mode=mode)
    person = client.chat.completions.create(model="lorikeet-demo", messages=messages, response_model=Person, max_retries=0, temperature=0, max_tokens=80)
    assert isinstance(person, Person), (mode, person)
    steps = list(client.chat.completions.create_partial(model="lorikeet-demo", messages=messages, response_model=Person, temperature=0, max_tokens=80))
    assert len(steps) > 1 and steps[-1].age == person.age, (mode, steps)
