import type {Schema} from "./api.ts";

// What a chat completion is made of, as far as it has come. The functions here are pure; run.ts sends requests.

export type ChatRequest = Schema<"ChatCompletionRequest">;
export type Chunk = Schema<"ChatCompletionChunk">;

export interface Call {
  id: string;
  name: string;
  arguments: string; // JSON text
}

export interface Answer {
  text: string;
  reasoning: string;
  calls: Call[];
  finish: string; // "" while it is under way
  adapters: string[]; // which answered, as name@version; none: the base
  began: number; // milliseconds, when the request was sent
  first: number; // when its first piece came; 0 before
  last: number; // when its last piece came
  pieces: number; // about as many as tokens
  tokens: number; // as the server counted them at the end; 0 before
  perSecond: number; // as the server measured it at the end; 0 before
  cached: number; // tokens of the prompt that were taken from the cache
  prompt: number; // tokens of the prompt
}

export function emptyAnswer(now: number): Answer {
  return {
    text: "", reasoning: "", calls: [], finish: "", adapters: [], began: now, first: 0, last: 0, pieces: 0, tokens: 0, perSecond: 0, cached: 0, prompt: 0,
  };
}

// addChunk returns the answer with a chunk that came at now, in milliseconds.
export function addChunk(a: Answer, chunk: Chunk, now: number): Answer {
  const next: Answer = {...a, adapters: answeredBy(chunk.adapter)};
  if (chunk.usage) {
    next.tokens = chunk.usage.completion_tokens;
    next.prompt = chunk.usage.prompt_tokens;
  }
  if (chunk.timings) {
    next.perSecond = chunk.timings.predicted_per_second;
    next.cached = chunk.timings.cache_n;
  }
  const choice = chunk.choices[0];
  if (choice === undefined) return next;
  const {content, reasoning_content: thought, tool_calls: calls} = choice.delta;
  next.text += content ?? "";
  next.reasoning += thought ?? "";
  if (calls && calls.length > 0) next.calls = addCalls(a.calls, calls);
  if (content || thought || (calls && calls.length > 0)) {
    next.pieces++;
    next.last = now;
    if (next.first === 0) next.first = now;
  }
  if (choice.finish_reason) next.finish = choice.finish_reason;
  return next;
}

function addCalls(calls: Call[], deltas: Schema<"ToolCallDelta">[]): Call[] {
  const next = calls.map((c) => ({...c}));
  for (const d of deltas) {
    const call = (next[d.index] ??= {id: "", name: "", arguments: ""});
    call.id ||= d.id ?? "";
    call.name ||= d.function.name ?? "";
    call.arguments += d.function.arguments;
  }
  return next;
}

function answeredBy(adapter: Chunk["adapter"]): string[] {
  if (adapter === null || adapter === undefined) return [];
  return typeof adapter === "string" ? [adapter] : adapter;
}

// speed is tokens per second: the server's measure, or before it what has come.
export function speed(a: Answer): number {
  if (a.perSecond > 0) return a.perSecond;
  return a.pieces > 1 && a.last > a.first ? ((a.pieces - 1) * 1000) / (a.last - a.first) : 0;
}
