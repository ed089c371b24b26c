// The same request for other programs: as a curl command and as Python with OpenAI's client. Both texts are pure functions
// of the request, quoted so that whatever a reader typed stays text.

export interface Snippet {
  url: string; // of the server, without a slash at its end
  body: Record<string, unknown>; // of /v1/chat/completions
  key: boolean; // whether the server asks for a key, which stays out of the text
}

// shellQuote quotes a word for a POSIX shell.
export function shellQuote(text: string): string {
  return "'" + text.replaceAll("'", `'\\''`) + "'";
}

export function asCurl(s: Snippet): string {
  const lines = [
    `curl ${s.body.stream === true ? "-N " : ""}${shellQuote(s.url + "/v1/chat/completions")}`,
    `-H 'Content-Type: application/json'`,
    ...(s.key ? [`-H "Authorization: Bearer $LORIKEET_API_KEY"`] : []),
    `--data-raw ${shellQuote(JSON.stringify(s.body, null, 2))}`,
  ];
  return lines.join(" \\\n  ");
}

// pythonLiteral writes a JSON value in Python. JSON's strings are Python's, too.
export function pythonLiteral(value: unknown, indent = ""): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = indent + "    ";
  const items = Array.isArray(value)
    ? value.map((v) => pythonLiteral(v, inner))
    : Object.entries(value).filter(([, v]) => v !== undefined).map(([k, v]) => `${JSON.stringify(k)}: ${pythonLiteral(v, inner)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (items.length === 0) return open + close;
  const short = `${open}${items.join(", ")}${close}`;
  if (short.length + indent.length < 90 && !short.includes("\n")) return short;
  return `${open}\n${items.map((i) => inner + i + ",\n").join("")}${indent}${close}`;
}

// known are the fields that OpenAI's client has by name; what else the server takes goes through extra_body.
const known = new Set([
  "model", "messages", "stream", "stream_options", "temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens", "max_completion_tokens",
  "seed", "stop", "n", "tools", "tool_choice", "response_format", "reasoning_effort", "logprobs", "top_logprobs", "logit_bias", "parallel_tool_calls",
]);

export function asPython(s: Snippet): string {
  const named = Object.entries(s.body).filter(([k, v]) => known.has(k) && v !== undefined);
  const extra = Object.fromEntries(Object.entries(s.body).filter(([k, v]) => !known.has(k) && v !== undefined));
  const args = named.map(([k, v]) => `    ${k}=${pythonLiteral(v, "    ")},\n`);
  if (Object.keys(extra).length > 0) args.push(`    extra_body=${pythonLiteral(extra, "    ")},\n`);
  const key = s.key ? `os.environ["LORIKEET_API_KEY"]` : `"none"`;
  return [
    ...(s.key ? ["import os\n"] : []),
    "from openai import OpenAI\n\n",
    `client = OpenAI(base_url=${JSON.stringify(s.url + "/v1")}, api_key=${key})\n`,
    `answer = client.chat.completions.create(\n${args.join("")})\n`,
    s.body.stream === true
      ? `for chunk in answer:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\n`
      : "print(answer.choices[0].message.content)\n",
  ].join("");
}
