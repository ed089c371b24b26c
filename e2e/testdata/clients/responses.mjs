// The Responses API through the openai package for Node.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const { LORIKEET_URL: url, LORIKEET_API_KEY: apiKey } = process.env;
const client = new OpenAI({ baseURL: url + "/v1", apiKey, maxRetries: 0 });
const input = "What is the capital of France?";
const ask = (model, more) => client.responses.create({ model, input, temperature: 0, ...more });

const base = await ask("lorikeet-demo");
assert.equal(base.output_text, "The capital of France is Paris.");
const pirate = (await ask("pirate")).output_text;
assert.notEqual(pirate, base.output_text);
let text = "";
for await (const event of await ask("pirate", { stream: true })) if (event.type === "response.output_text.delta") text += event.delta;
assert.equal(text, pirate);
assert.equal((await client.responses.stream({ model: "pirate", input, temperature: 0 }).finalResponse()).output_text, pirate);

const second = await ask("lorikeet-demo", { previous_response_id: base.id, input: "And of Italy?" });
assert.equal(second.previous_response_id, base.id);
assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
await client.responses.delete(second.id);
await assert.rejects(client.responses.retrieve(second.id), OpenAI.NotFoundError);

const parsed = await client.responses.parse({
  model: "json", input, temperature: 0, text: { format: zodTextFormat(z.object({ name: z.string(), country: z.string() }), "city") },
});
assert.equal(typeof parsed.output_parsed.country, "string");

const tools = [{
  type: "function", name: "weather", strict: true,
  parameters: { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false },
}];
const asked = await ask("lorikeet-demo", { tools, tool_choice: "required", max_output_tokens: 100 });
const call = asked.output.find((item) => item.type === "function_call");
assert.ok(["Paris", "Rome"].includes(JSON.parse(call.arguments).city), call.arguments);
