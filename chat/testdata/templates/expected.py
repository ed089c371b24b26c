"""Writes expected.json: what Jinja2 makes of the templates here, set up as transformers sets it up for chat
templates. Run it after changing a template, cases.json or features.txt: python3 expected.py (needs jinja2)."""

import json
import pathlib

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """{% generation %} marks what a trainer computes its loss on and prints what is inside."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("inside"), [], [], body).set_lineno(line)

    def inside(self, caller):
        return caller()


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = refuse
env.globals["strftime_now"] = lambda layout: __import__("datetime").datetime(2026, 11, 3, 9, 5, 7).strftime(layout)


def render(source, messages, tools, kwargs, generate):
    variables = dict(messages=messages, tools=tools, documents=None, add_generation_prompt=generate, bos_token="<s>", eos_token="</s>")
    try:
        return {"text": env.from_string(source).render(**variables, **kwargs)}
    except jinja2.exceptions.TemplateError as e:
        return {"refused" if type(e) is jinja2.exceptions.TemplateError else "error": str(e)}
    except TypeError as e:
        return {"error": str(e)}


here = pathlib.Path(__file__).parent
cases = json.loads((here / "cases.json").read_text())
expected = {"templates": {}, "features": []}
for path in sorted(here.glob("*.jinja")):
    expected["templates"][path.stem] = {
        c["name"]: render(path.read_text(), c["messages"], c.get("tools"), c.get("kwargs", {}), c["generate"]) for c in cases
    }
messages = [
    {"role": "system", "content": "sys"},
    {"role": "user", "content": " Hi ü "},
    {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": "x'y\"z", "n": None}}}]},
    {"role": "user", "content": "last"},
]
variables = {"l": [3, 1, 2], "d": {"b": 1, "A": [1, {"x": None}], "c": "é\n"}, "e": {}, "s": "a,b,,c", "n": None, "f": 1.0, "t": True, "neg": -1, "empty": [],
             "big": 12345678901234567890, "negative": -98765432109876543210}
expected["messages"], expected["variables"] = messages, variables
for source in (here / "features.txt").read_text().removesuffix("\n").split("\n---\n"):
    expected["features"].append({"source": source, **render(source, messages, None, variables, True)})
(here / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
