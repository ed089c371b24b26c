import assert from "node:assert/strict";
import {test} from "node:test";
import {addChunk, emptyAnswer, speed, type Chunk} from "../src/lib/completion.ts";

type Choice = Chunk["choices"][number];

function chunk(delta: Choice["delta"], more: Partial<Chunk> = {}, finish: Choice["finish_reason"] = null): Chunk {
  return {
    id: "c", object: "chat.completion.chunk", created: 1, model: "m", system_fingerprint: "f", adapter: "a@1",
    choices: [{index: 0, delta, logprobs: null as unknown as Choice["logprobs"], finish_reason: finish}], ...more,
  } as Chunk;
}

test("texts, reasoning and calls are put together", () => {
  let a = emptyAnswer(1000);
  for (const [delta, now] of [
    [{role: "assistant", content: null}, 1100],
    [{reasoning_content: "hm"}, 1200],
    [{content: "Hel"}, 1300],
    [{content: "lo"}, 1400],
    [{tool_calls: [{index: 0, id: "x", type: "function", function: {name: "f", arguments: ""}}]}, 1500],
    [{tool_calls: [{index: 0, function: {arguments: '{"a":'}}, {index: 1, id: "y", function: {name: "g", arguments: "{}"}}]}, 1600],
    [{tool_calls: [{index: 0, function: {arguments: "1}"}}]}, 1700],
  ] as [Choice["delta"], number][]) {
    a = addChunk(a, chunk(delta), now);
  }
  a = addChunk(a, chunk({}, {}, "tool_calls"), 1750);
  assert.equal(a.text, "Hello");
  assert.equal(a.reasoning, "hm");
  assert.deepEqual(a.calls, [{id: "x", name: "f", arguments: '{"a":1}'}, {id: "y", name: "g", arguments: "{}"}]);
  assert.deepEqual([a.first - a.began, a.pieces, a.finish, a.adapters], [200, 6, "tool_calls", ["a@1"]]);
  assert.equal(speed(a), 10, "5 pieces after the first in half a second");
});

test("the last chunk has the server's own counts", () => {
  let a = addChunk(emptyAnswer(0), chunk({content: "x"}), 10);
  a = addChunk(a, chunk({}, {
    choices: [], adapter: ["a@1", "b@2*0.5"],
    usage: {completion_tokens: 7, prompt_tokens: 30, total_tokens: 37} as NonNullable<Chunk["usage"]>,
    timings: {cache_n: 12, predicted_per_second: 42.5} as NonNullable<Chunk["timings"]>,
  }), 20);
  assert.deepEqual([a.tokens, a.prompt, a.cached, speed(a), a.adapters, a.text], [7, 30, 12, 42.5, ["a@1", "b@2*0.5"], "x"]);
});

test("the base answers where no adapter does", () => {
  assert.deepEqual(addChunk(emptyAnswer(0), chunk({content: "x"}, {adapter: null}), 1).adapters, []);
});
