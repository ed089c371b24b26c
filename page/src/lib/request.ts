import type {ChatRequest} from "./completion.ts";

// How the choices of Chat and Compare become a request of the API. All pure.

// A Picked is an adapter and its weight in the sum; name may be name@version.
export interface Picked {
  name: string;
  scale: number | null; // null is 1
}

// maxAdapters is how many the server sums in one request.
export const maxAdapters = 4;

export interface Sampling {
  temperature: number | null; // null everywhere: the server's default
  top_p: number | null;
  top_k: number | null;
  min_p: number | null;
  repeat_penalty: number | null;
  presence_penalty: number | null;
  frequency_penalty: number | null;
  max_tokens: number | null;
  seed: number | null;
}

export const defaultSampling: Sampling = {
  temperature: null, top_p: null, top_k: null, min_p: null, repeat_penalty: null, presence_penalty: null, frequency_penalty: null, max_tokens: null, seed: null,
};

// samplingFields are those of s that are set.
export function samplingFields(s: Sampling): Partial<ChatRequest> {
  const fields: Partial<ChatRequest> = {};
  for (const [name, value] of Object.entries(s)) {
    if (value !== null) Object.assign(fields, {[name]: value as number});
  }
  return fields;
}

// adapterFields names the adapters: a lone one with its own scale as the model, all else beside the base.
export function adapterFields(base: string, picked: Picked[]): Partial<ChatRequest> {
  const named = picked.filter((p) => p.name !== "");
  const one = named[0];
  if (one === undefined) return {model: base};
  if (named.length === 1 && (one.scale === null || one.scale === 1)) return {model: one.name};
  const list = named.map((p) => (p.scale === null || p.scale === 1 ? {name: p.name} : {name: p.name, scale: p.scale}));
  return {model: base, adapter: list.length === 1 ? list[0] ?? null : list};
}

// parseObject reads JSON text that must be an object; parseList one that must be a list. They return why it is not.
export function parseObject(text: string): {value: Record<string, unknown>} | {fault: string} {
  const got = parse(text);
  if ("fault" in got) return got;
  if (typeof got.value !== "object" || got.value === null || Array.isArray(got.value)) return {fault: "{ … }"};
  return {value: got.value as Record<string, unknown>};
}

export function parseList(text: string): {value: unknown[]} | {fault: string} {
  const got = parse(text);
  if ("fault" in got) return got;
  return Array.isArray(got.value) ? {value: got.value} : {fault: "[ … ]"};
}

function parse(text: string): {value: unknown} | {fault: string} {
  try {
    return {value: JSON.parse(text) as unknown};
  } catch (error) {
    return {fault: error instanceof Error ? error.message : String(error)};
  }
}
