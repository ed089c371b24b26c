import assert from "node:assert/strict";
import {test} from "node:test";
import {lettersOf, markOf} from "../src/lib/colours.ts";
import {addSample, partsOf, type Sample, type State} from "../src/views/server/history.ts";

test("marks stay the same, and go on after Z and after the eighth colour", () => {
  assert.deepEqual([0, 1, 25, 26, 27, 701, 702].map(lettersOf), ["A", "B", "Z", "AA", "AB", "ZZ", "AAA"]);
  const first = markOf("pirate");
  for (let i = 0; i < 8; i++) markOf(`other ${i}`);
  assert.deepEqual(markOf("pirate"), first);
  assert.deepEqual([markOf("other 7").letters, markOf("other 7").colour], ["I", first.colour]);
});

function state(at: number, started: number, decode: number): State {
  return {
    created_at: at, started_at: started, speed: {prefill_tokens_per_second: 1, decode_tokens_per_second: decode}, kv_cache: {used: 2, running: 1},
    batch: {running: 3}, queue: {waiting: 4},
  } as State;
}

test("samples go back three minutes, and begin anew with the server", () => {
  let list: Sample[] = [];
  for (let at = 1000; at < 1400; at++) list = addSample(list, state(at, 900, at));
  assert.deepEqual([list.length, list[0]?.at, list.at(-1)], [180, 1220, {at: 1399, prefill: 1, decode: 1399, used: 2, runningCells: 1, running: 3, waiting: 4}]);
  assert.equal(addSample(list, state(1399, 900, 1)), list, "the same moment is no new sample");
  assert.deepEqual(addSample(list, state(1410, 1405, 7)).map((s) => s.decode), [7]);
});

test("a request's time has five parts in their order", () => {
  const parts = partsOf({prepare_ms: 1, queue_ms: 2, load_ms: 3, prefill_ms: 4, decode_ms: 5, total_ms: 16});
  assert.deepEqual(parts.map((p) => `${p.name} ${p.ms}`), ["prepare 1", "queue 2", "load 3", "prefill 4", "decode 5"]);
});
