import assert from "node:assert/strict";
import {test} from "node:test";
import {emptyAnswer} from "../src/lib/completion.ts";
import {adapterFields} from "../src/lib/request.ts";
import {parseRoute} from "../src/lib/router.ts";
import {buildRequest, defaultSettings} from "../src/views/chat/request.ts";

test("adapters are named as the API has them", () => {
  assert.deepEqual(adapterFields("base", []), {model: "base"});
  assert.deepEqual(adapterFields("base", [{name: "", scale: 2}]), {model: "base"});
  assert.deepEqual(adapterFields("base", [{name: "a@1", scale: null}]), {model: "a@1"});
  assert.deepEqual(adapterFields("base", [{name: "a", scale: 0}]), {model: "base", adapter: {name: "a", scale: 0}});
  assert.deepEqual(adapterFields("base", [{name: "a", scale: 1}, {name: "", scale: null}, {name: "b", scale: -0.5}]), {
    model: "base", adapter: [{name: "a"}, {name: "b", scale: -0.5}],
  });
});

test("only what is set is sent", () => {
  const {request, faults} = buildRequest("base", defaultSettings, [{id: 1, role: "user", text: "hi"}]);
  assert.deepEqual(request, {model: "base", messages: [{role: "user", content: "hi"}]});
  assert.deepEqual(faults, {});
});

test("settings become fields", () => {
  const s = {
    ...defaultSettings, system: "be brief", stop: "END\n\n###", effort: "low", format: "json_schema" as const, schema: '{"type":"object"}', tools: "[]", toolChoice: "required" as const,
    sampling: {...defaultSettings.sampling, temperature: 0, seed: 7},
  };
  const {request, faults} = buildRequest("base", s, []);
  assert.deepEqual(faults, {});
  assert.deepEqual({...request}, {
    model: "base", messages: [{role: "system", content: "be brief"}], temperature: 0, seed: 7, stop: ["END", "###"], reasoning_effort: "low", tools: [], tool_choice: "required",
    response_format: {type: "json_schema", json_schema: {name: "answer", strict: true, schema: {type: "object"}}},
  });
});

test("what is no JSON is named and not sent", () => {
  const {request, faults} = buildRequest("base", {...defaultSettings, format: "json_schema", schema: "[1]", tools: '{"a":'}, []);
  assert.deepEqual(Object.keys(faults).sort(), ["schema", "tools"]);
  assert.ok(!("response_format" in request) && !("tools" in request));
});

test("calls and their results go back to the model; an answer that never came does not", () => {
  const call = {id: "x", name: "f", arguments: "{}"};
  const answer = {...emptyAnswer(0), calls: [call]};
  const {request} = buildRequest("base", defaultSettings, [
    {id: 1, role: "user", text: "q"}, {id: 2, role: "assistant", text: "", answer: emptyAnswer(0)}, {id: 3, role: "assistant", text: "", answer}, {id: 4, role: "tool", text: "42", call},
  ]);
  assert.deepEqual(request.messages, [
    {role: "user", content: "q"},
    {role: "assistant", content: "", tool_calls: [{id: "x", type: "function", function: {name: "f", arguments: "{}"}}]},
    {role: "tool", content: "42", tool_call_id: "x", name: "f"},
  ]);
});

test("addresses are read whatever they hold", () => {
  const r = parseRoute("#/adapters/a%2Fb/%zz?version=1a%262");
  assert.deepEqual([r.view, r.parts, r.query.get("version")], ["adapters", ["a/b", "%zz"], "1a&2"]);
  assert.deepEqual([parseRoute("").view, parseRoute("#").parts], ["", []]);
});
