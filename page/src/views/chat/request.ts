import {adapterFields, defaultSampling, parseList, parseObject, samplingFields, type Picked, type Sampling} from "../../lib/request.ts";
import type {Answer, Call, ChatRequest} from "../../lib/completion.ts";

// A Turn is one message of the conversation as the view keeps it.
export interface Turn {
  id: number;
  role: "user" | "assistant" | "tool";
  text: string;
  answer?: Answer; // of the assistant
  call?: Call; // of a tool: what it was called with
  stopped?: boolean; // the reader stopped it
  error?: unknown; // why it ended
}

export type Format = "text" | "json_object" | "json_schema";

export interface Settings {
  adapters: Picked[];
  system: string;
  sampling: Sampling;
  stop: string; // one text a line
  effort: string; // reasoning_effort; "": the model's own
  format: Format;
  schema: string; // JSON text
  tools: string; // JSON text, "": none
  toolChoice: "auto" | "required" | "none";
}

export const defaultSettings: Settings = {
  adapters: [{name: "", scale: null}], system: "", sampling: defaultSampling, stop: "", effort: "", format: "text", schema: "", tools: "", toolChoice: "auto",
};

export interface Faults {
  schema?: string;
  tools?: string;
}

// buildRequest makes the request of a conversation. faults are texts that are no JSON; the request lacks them.
export function buildRequest(base: string, s: Settings, turns: Turn[]): {request: ChatRequest; faults: Faults} {
  const faults: Faults = {};
  const request: ChatRequest = {...adapterFields(base, s.adapters), messages: messages(s.system, turns), ...samplingFields(s.sampling)};
  const stops = s.stop.split("\n").filter((line) => line !== "");
  if (stops.length > 0) request.stop = stops;
  if (s.effort !== "") request.reasoning_effort = s.effort;
  if (s.format === "json_object") request.response_format = {type: "json_object"};
  if (s.format === "json_schema") {
    const got = parseObject(s.schema);
    if ("fault" in got) faults.schema = got.fault;
    else request.response_format = {type: "json_schema", json_schema: {name: "answer", strict: true, schema: got.value}} as NonNullable<ChatRequest["response_format"]>;
  }
  if (s.tools.trim() !== "") {
    const got = parseList(s.tools);
    if ("fault" in got) faults.tools = got.fault;
    else request.tools = got.value as NonNullable<ChatRequest["tools"]>;
    if (s.toolChoice !== "auto") request.tool_choice = s.toolChoice;
  }
  return {request, faults};
}

function messages(system: string, turns: Turn[]): ChatRequest["messages"] {
  const list: ChatRequest["messages"] = [];
  if (system.trim() !== "") list.push({role: "system", content: system});
  for (const t of turns) {
    if (t.role === "tool") {
      list.push({role: "tool", content: t.text, tool_call_id: t.call?.id ?? "", name: t.call?.name ?? ""});
    } else if (t.role === "user") {
      list.push({role: "user", content: t.text});
    } else if (t.text !== "" || (t.answer?.calls.length ?? 0) > 0) {
      const calls = (t.answer?.calls ?? []).map((c) => ({id: c.id, type: "function" as const, function: {name: c.name, arguments: c.arguments}}));
      list.push({role: "assistant", content: t.text, ...(calls.length > 0 ? {tool_calls: calls} : {})});
    }
  }
  return list;
}
