import type {Answer, ChatRequest} from "../../lib/completion.ts";
import {adapterFields, samplingFields, type Sampling} from "../../lib/request.ts";

// A Cell is one answer: what came, and how it ended.
export interface Cell {
  state: "waiting" | "running" | "done" | "stopped" | "failed";
  answer?: Answer;
  error?: unknown;
}

export interface Question {
  name: string; // of the adapter; "": the base
  prompt: string;
  system: string;
  sampling: Sampling;
}

export function questionRequest(base: string, q: Question): ChatRequest {
  const system = q.system.trim() === "" ? [] : [{role: "system", content: q.system}];
  return {...adapterFields(base, [{name: q.name, scale: null}]), messages: [...system, {role: "user", content: q.prompt}], ...samplingFields(q.sampling)};
}
