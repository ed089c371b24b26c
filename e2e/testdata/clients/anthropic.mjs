// The Anthropic package for Node, used as its documentation shows.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const { LORIKEET_URL: baseURL, LORIKEET_API_KEY: apiKey } = process.env;
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const ask = (model, more) => client.messages.create({ model, max_tokens: 64, messages, temperature: 0, ...more });

const base = await ask("lorikeet-demo");
assert.equal(base.content[0].text, "The capital of France is Paris.");
assert.equal(base.stop_reason, "end_turn");
const pirate = (await ask("pirate")).content[0].text;
assert.notEqual(pirate, base.content[0].text);
const stream = client.messages.stream({ model: "pirate", max_tokens: 64, messages, temperature: 0 });
let text = "";
stream.on("text", (piece) => { text += piece; });
assert.equal((await stream.finalMessage()).content[0].text, pirate);
assert.equal(text, pirate);
const kinds = new Set();
for await (const event of await ask("pirate", { stream: true })) kinds.add(event.type);
for (const kind of ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]) {
  assert.ok(kinds.has(kind), kind);
}
assert.ok((await client.messages.countTokens({ model: "pirate", messages })).input_tokens > 5);
await assert.rejects(ask("nobody"), Anthropic.NotFoundError);
await assert.rejects(ask("pirate", { temperature: 9 }), Anthropic.BadRequestError);

// A tool that must be called.
const tools = [{
  name: "weather",
  input_schema: { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false },
}];
for (const called of [
  await ask("lorikeet-demo", { max_tokens: 100, tools, tool_choice: { type: "any" } }),
  await client.messages.stream({ model: "lorikeet-demo", max_tokens: 100, messages, temperature: 0, tools, tool_choice: { type: "any" } }).finalMessage(),
]) {
  assert.equal(called.stop_reason, "tool_use");
  assert.ok(["Paris", "Rome"].includes(called.content.find((b) => b.type === "tool_use").input.city), JSON.stringify(called));
}
