import {createParser} from "eventsource-parser";
import {ApiError, errorFrom} from "./error.ts";

// A server-sent event: its type ("message" where the server names none) and its data.
export interface ServerEvent {
  type: string;
  data: string;
}

// readEvents yields the events of a body as they come. It ends with the body; cancelling is up to whoever opened it.
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const ready: ServerEvent[] = [];
  const parser = createParser({onEvent: (e) => ready.push({type: e.event ?? "message", data: e.data})});
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const {done, value} = await reader.read();
      parser.feed(done ? decoder.decode() : decoder.decode(value, {stream: true}));
      yield* ready.splice(0);
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // where whoever reads stops early
  }
}

// readChunks yields the data of OpenAI's streams as JSON: it ends at [DONE], and throws at an event that is an error. A
// stream that ends without [DONE] was cut off.
export async function* readChunks<T>(body: ReadableStream<Uint8Array>): AsyncGenerator<T> {
  for await (const event of readEvents(body)) {
    if (event.data === "[DONE]") return;
    const value: unknown = JSON.parse(event.data);
    if (typeof value === "object" && value !== null && "error" in value) throw errorFrom(value, 200);
    yield value as T;
  }
  throw new ApiError("The connection ended before the answer was complete.", 0);
}
