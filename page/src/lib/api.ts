import createClient from "openapi-fetch";
import type {components, paths} from "./schema.gen.ts";
import {ApiError, errorFrom, errorOf, isAbort} from "./error.ts";
import {readChunks, readEvents, type ServerEvent} from "./events.ts";
import {askForKey, currentKey} from "./key.ts";
import {wordsNow, type Words} from "./words.ts";

// Schema<"Adapter"> is a shape of openapi.yaml.
export type Schema<N extends keyof components["schemas"]> = components["schemas"][N];

const en = {unreachable: "The server cannot be reached."};
const words: Words<typeof en> = {en, zh: {unreachable: "无法连接到服务器。"}};

// send adds the API key. Where the server refuses it, the reader is asked for another and the request is sent again.
export async function send(request: Request): Promise<Response> {
  for (;;) {
    const key = currentKey();
    const copy = request.clone();
    if (key !== "") copy.headers.set("Authorization", "Bearer " + key);
    let response: Response;
    try {
      response = await fetch(copy);
    } catch (error) {
      if (isAbort(error)) throw error;
      throw new ApiError(wordsNow(words).unreachable, 0);
    }
    if (response.status !== 401) return response;
    if (key !== currentKey()) continue; // another request has asked meanwhile
    const refused = await errorOf(response);
    if (!(await askForKey(key === "" ? "" : refused.message))) throw refused;
  }
}

// api has one method for each of HTTP's, with the paths, parameters, bodies and answers of openapi.yaml:
//
//	const list = await ask(api.GET("/adapters"));
//	const one = await ask(api.GET("/adapters/{name}", {params: {path: {name}}, signal}));
export const api = createClient<paths>({baseUrl: location.origin, fetch: send});

// ask returns the answer's body, or throws the server's error.
export async function ask<T>(call: Promise<{data?: T; error?: unknown; response: Response}>): Promise<T> {
  const {data, error, response} = await call;
  if (!response.ok) throw errorFrom(error, response.status, response.headers.get("X-Request-Id") ?? "");
  return data as T;
}

async function open(path: string, body: unknown, signal: AbortSignal, credentials: RequestCredentials = "same-origin"): Promise<ReadableStream<Uint8Array>> {
  const request = new Request(new URL(path, location.origin), {
    signal, credentials,
    headers: {Accept: "text/event-stream", ...(body === undefined ? {} : {"Content-Type": "application/json"})},
    ...(body === undefined ? {} : {method: "POST", body: JSON.stringify(body)}),
  });
  const response = await send(request);
  if (!response.ok) throw await errorOf(response);
  if (response.body === null) throw new ApiError(wordsNow(words).unreachable, 0);
  return response.body;
}

// stream sends a request and yields the chunks of its answer as OpenAI streams them. Aborting ends it.
export async function* stream<T>(path: string, body: unknown, signal: AbortSignal, credentials?: RequestCredentials): AsyncGenerator<T> {
  yield* readChunks<T>(await open(path, body, signal, credentials));
}

// follow yields the events of a GET, such as those of a training job.
export async function* follow(path: string, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  yield* readEvents(await open(path, undefined, signal));
}
