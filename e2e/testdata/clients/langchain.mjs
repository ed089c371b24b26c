// @langchain/openai, used as its documentation shows.
import assert from "node:assert/strict";
import { ChatOpenAI } from "@langchain/openai";
import { HumanMessage, SystemMessage } from "@langchain/core/messages";
import { z } from "zod";

const { LORIKEET_URL: url, LORIKEET_API_KEY: apiKey } = process.env;
const chat = (model) => new ChatOpenAI({ model, temperature: 0, apiKey, maxRetries: 0, configuration: { baseURL: url + "/v1" } });
const messages = [new HumanMessage("What is the capital of France?")];

const answer = await chat("lorikeet-demo").invoke(messages);
assert.equal(answer.content, "The capital of France is Paris.");
const pirate = (await chat("pirate").invoke(messages)).content;
assert.notEqual(pirate, answer.content);
let text = "";
for await (const chunk of await chat("pirate").stream(messages)) text += chunk.content;
assert.equal(text, pirate);
const batch = await chat("pirate").batch([messages, [new SystemMessage("Be short."), ...messages]]);
assert.equal(batch[0].content, pirate);

const city = await chat("json")
  .withStructuredOutput(z.object({ name: z.string(), country: z.string() }), { method: "jsonSchema" })
  .invoke(messages);
assert.equal(typeof city.country, "string");

// Tools.
const weather = { name: "weather", description: "The weather of a city", schema: z.object({ city: z.enum(["Paris", "Rome"]) }) };
const called = await new ChatOpenAI({ model: "lorikeet-demo", temperature: 0, maxTokens: 100, apiKey, maxRetries: 0, configuration: { baseURL: url + "/v1" } })
  .bindTools([weather], { tool_choice: "weather" }).invoke(messages);
assert.equal(called.tool_calls[0].name, "weather");
assert.ok(["Paris", "Rome"].includes(called.tool_calls[0].args.city), JSON.stringify(called.tool_calls));
