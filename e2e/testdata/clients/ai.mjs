// The AI SDK with its provider for OpenAI in its default mode, which speaks the Responses API.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { embed, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { LORIKEET_URL: url, LORIKEET_API_KEY: apiKey } = process.env;
const openai = createOpenAI({ baseURL: url + "/v1", apiKey });
const prompt = "What is the capital of France?";
const common = { prompt, temperature: 0, maxRetries: 0 };

const base = await generateText({ model: openai("lorikeet-demo"), ...common });
assert.equal(base.text, "The capital of France is Paris.");
assert.equal(base.finishReason, "stop");
assert.ok(base.usage.inputTokens > 0 && base.usage.outputTokens > 0, JSON.stringify(base.usage));
const pirate = (await generateText({ model: openai("pirate"), ...common })).text;
assert.notEqual(pirate, base.text);
let text = "";
for await (const piece of streamText({ model: openai("pirate"), ...common }).textStream) text += piece;
assert.equal(text, pirate);

// A typed answer.
const city = await generateObject({ model: openai("json"), ...common, schema: z.object({ name: z.string(), country: z.string() }) });
assert.equal(typeof city.object.country, "string");

// A tool is called, its result goes back, and the answer goes on from it: the second step names the items of the first.
let asked;
const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.enum(["Paris", "Rome"]) }),
  execute: async (input) => { asked = input; return { weather: "rain" }; },
});
for (const run of [generateText, streamText]) {
  asked = undefined;
  const result = run({
    model: openai("lorikeet-demo"), ...common, tools: { weather }, stopWhen: stepCountIs(2), maxOutputTokens: 100,
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  const steps = run === streamText ? (await result.consumeStream(), await result.steps) : (await result).steps;
  assert.equal(steps.length, 2);
  assert.equal(steps[0].finishReason, "tool-calls");
  assert.ok(["Paris", "Rome"].includes(asked.city), JSON.stringify(asked));
  assert.equal(steps[0].toolResults[0].output.weather, "rain");
}

const { embedding } = await embed({ model: openai.embedding("lorikeet-demo"), value: prompt, maxRetries: 0 });
assert.ok(embedding.length > 8);
await assert.rejects(generateText({ model: openai("nobody"), ...common }), /nobody/);
