import assert from "node:assert/strict";
import {test} from "node:test";
import {addEvents, align, curveOf, none, type Event} from "../src/views/train/curve.ts";
import {emptyDraft, formOf, nameOf, textsOf} from "../src/views/train/fields.ts";

const event = (seq: number, data?: object): Event => ({seq, created_at: 1, level: "info", type: data === undefined ? "message" : "metrics", message: "", data: data ?? null}) as unknown as Event;

test("a draft becomes the form that the API takes", () => {
  const d = {
    ...emptyDraft, name: " birds ", from: "pirate", reward: "{}",
    values: {r: 8, learning_rate: null, packing: true, use_dora: false, target_modules: "q_proj, v_proj", truncation: "", save_steps: 0},
    file: new File(["x"], "birds.jsonl"), validation: new File(["y"], "held.csv"),
  };
  assert.deepEqual(textsOf(d), [
    ["method", "supervised"], ["name", "birds"], ["from", "pirate"], ["r", "8"], ["target_modules", '["q_proj","v_proj"]'], ["save_steps", "0"], ["packing", "true"],
  ]);
  assert.deepEqual([...textsOf({...d, method: "reinforcement"})].find(([name]) => name === "reward"), ["reward", "{}"]);
  const form = formOf(d);
  assert.deepEqual([(form.get("file") as File).name, (form.get("validation_file") as File).name, form.get("r")], ["birds.jsonl", "held.csv", "8"]);
});

test("a file's name proposes the adapter's", () => {
  assert.deepEqual(["bad birds.jsonl", "a.b.csv", "_x.txt", "数据.json", "x".repeat(99)].map(nameOf), ["bad-birds", "a.b", "x", "", "x".repeat(64)]);
});

test("events that come again are added once", () => {
  const one = addEvents(none, [event(1), event(2)], false);
  const two = addEvents(one, [event(1), event(2), event(5)], true);
  assert.deepEqual(two.events.map((e) => e.seq), [1, 2, 5]);
  assert.equal(two.done, true);
  assert.equal(addEvents(two, [event(5)], true), two);
});

test("a curve has the later of two runs of a step, and evaluations beside the steps", () => {
  const step = (n: number, loss: number) => ({step: n, train_loss: loss, learning_rate: 0.1, tokens_per_second: 5});
  const points = curveOf([
    event(1), event(2, {...step(0, 0), valid_loss: 3}), event(3, step(1, 9)), event(4, step(2, 8)), event(5, step(1, 7)), event(6, {...step(2, 8), valid_loss: 2}),
  ]);
  assert.deepEqual(points.map((p) => [p.step, p.loss, p.valid, p.rate]), [[0, null, 3, null], [1, 7, null, 0.1], [2, 8, 2, 0.1]]);
});

test("jobs of different lengths share an axis", () => {
  const {x, series} = align([{name: "a", points: [{step: 1, value: 5}, {step: 3, value: 4}]}, {name: "b", points: [{step: 2, value: 1}]}]);
  assert.deepEqual([x, series], [[1, 2, 3], [{name: "a", values: [5, null, 4]}, {name: "b", values: [null, 1, null]}]]);
});
