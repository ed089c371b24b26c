import assert from "node:assert/strict";
import {test} from "node:test";
import {ApiError} from "../src/lib/error.ts";
import {readChunks, readEvents} from "../src/lib/events.ts";

// body is a stream of text in pieces of n bytes, so that characters and lines are torn.
function body(text: string, n: number, cancelled?: () => void): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(c) {
      if (at >= bytes.length) return c.close();
      c.enqueue(bytes.slice(at, at + n));
      at += n;
    },
    cancel() {
      cancelled?.();
    },
  });
}

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const got: T[] = [];
  for await (const item of list) got.push(item);
  return got;
}

test("events come whole, however the body is torn", async () => {
  const text = ': keep-alive\n\nevent: step\ndata: {"text":"日本"}\n\ndata: a\r\ndata: b\r\n\r\n';
  for (const n of [1, 2, 3, 7, 1000]) {
    assert.deepEqual(await all(readEvents(body(text, n))), [{type: "step", data: '{"text":"日本"}'}, {type: "message", data: "a\nb"}], `pieces of ${n}`);
  }
});

test("chunks end at [DONE]", async () => {
  let cancelled = false;
  const text = 'data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\ndata: {"n":3}\n\n';
  assert.deepEqual(await all(readChunks(body(text, 5, () => (cancelled = true)))), [{n: 1}, {n: 2}]);
  assert.ok(cancelled, "the rest of the body is not wanted");
});

test("an error in the stream is thrown with what the server said", async () => {
  const text = 'data: {"n":1}\n\ndata: {"error":{"message":"the adapter is gone","param":"model","code":"model_not_found"}}\n\n';
  const seen: unknown[] = [];
  await assert.rejects(async () => {
    for await (const chunk of readChunks(body(text, 4))) seen.push(chunk);
  }, (e: unknown) => e instanceof ApiError && e.message === "the adapter is gone" && e.param === "model" && e.code === "model_not_found");
  assert.deepEqual(seen, [{n: 1}]);
});

test("a stream that is cut off is an error", async () => {
  await assert.rejects(all(readChunks(body('data: {"n":1}\n\n', 100))), ApiError);
});

test("whoever stops reading cancels the request", async () => {
  let cancelled = false;
  for await (const event of readEvents(body("data: 1\n\ndata: 2\n\n", 9, () => (cancelled = true)))) {
    assert.equal(event.data, "1");
    break;
  }
  assert.ok(cancelled);
});
