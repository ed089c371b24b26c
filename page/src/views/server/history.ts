import type {Schema} from "../../lib/api.ts";
import {createStore} from "../../lib/store.ts";

export type State = Schema<"ServerState">;

// Sample is what the plots show of one state.
export interface Sample {
  at: number; // Unix time in seconds
  prefill: number;
  decode: number;
  used: number;
  runningCells: number;
  running: number;
  waiting: number;
}

// longest is how many seconds the plots go back.
const longest = 180;

// addSample adds a state to the samples, those of the last three minutes. A server that was started again begins anew.
export function addSample(list: Sample[], s: State): Sample[] {
  const last = list.at(-1);
  if (last !== undefined && last.at >= s.created_at) return list;
  return [...list.filter((x) => x.at > s.created_at - longest && x.at >= s.started_at), {
    at: s.created_at, prefill: s.speed.prefill_tokens_per_second, decode: s.speed.decode_tokens_per_second,
    used: s.kv_cache.used, runningCells: s.kv_cache.running, running: s.batch.running, waiting: s.queue.waiting,
  }];
}

// samples outlive the view.
export const samples = createStore<Sample[]>([]);

// A Part is a stretch of a request's time.
export interface Part {
  name: "prepare" | "queue" | "load" | "prefill" | "decode";
  ms: number;
}

export function partsOf(t: Schema<"RequestTimings">): Part[] {
  return [
    {name: "prepare", ms: t.prepare_ms}, {name: "queue", ms: t.queue_ms}, {name: "load", ms: t.load_ms},
    {name: "prefill", ms: t.prefill_ms}, {name: "decode", ms: t.decode_ms},
  ];
}
