// The openai package for Node, used as its documentation shows.
import assert from "node:assert/strict";
import fs from "node:fs";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const { LORIKEET_URL: url, LORIKEET_API_KEY: apiKey, DATASET: dataset } = process.env;
const client = new OpenAI({ baseURL: url + "/v1", apiKey });
const messages = [{ role: "user", content: "What is the capital of France?" }];

// Chat, of the base and of an adapter, whole and as a stream.
const base = await client.chat.completions.create({ model: "lorikeet-demo", messages, temperature: 0 });
assert.equal(base.choices[0].message.content, "The capital of France is Paris.");
const pirate = (await client.chat.completions.create({ model: "pirate", messages, temperature: 0 })).choices[0].message.content;
assert.notEqual(pirate, base.choices[0].message.content);
let text = "";
for await (const chunk of await client.chat.completions.create({ model: "pirate", messages, temperature: 0, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, pirate);
const runner = client.chat.completions.stream({ model: "pirate", messages, temperature: 0 });
assert.equal(await runner.finalContent(), pirate);

// A stream that the client gives up.
const given = await client.chat.completions.create({ model: "pirate", messages, stream: true });
for await (const _ of given) break;

// Models and errors.
const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.ok(names.includes("pirate"), String(names));
await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), OpenAI.NotFoundError);
await assert.rejects(client.chat.completions.create({ model: "pirate", messages, top_p: 7 }), OpenAI.BadRequestError);

// A typed answer.
const City = z.object({ name: z.string(), country: z.string() });
const parsed = await client.chat.completions.parse({
  model: "json", messages, temperature: 0, response_format: zodResponseFormat(City, "city"),
});
assert.equal(typeof parsed.choices[0].message.parsed.country, "string");

// Files and fine-tuning.
const file = await client.files.create({ file: fs.createReadStream(dataset), purpose: "fine-tune" });
const job = await client.fineTuning.jobs.create({ model: "lorikeet-demo", training_file: file.id, suffix: "openai-node" });
await client.fineTuning.jobs.cancel(job.id);
assert.equal((await client.fineTuning.jobs.retrieve(job.id)).status, "cancelled");
assert.ok((await client.fineTuning.jobs.listEvents(job.id)).data.length > 0);
assert.equal(await (await client.files.content(file.id)).text(), fs.readFileSync(dataset, "utf8"));
assert.ok((await client.files.delete(file.id)).deleted);

// Tools: the package calls them and goes on with their results.
let seen;
const weather = {
  type: "function",
  function: {
    name: "weather", parse: JSON.parse, function: ({ city }) => { seen = city; return "rain"; },
    parameters: { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false },
  },
};
for (const stream of [false, true]) {
  seen = undefined;
  const run = client.chat.completions.runTools({
    model: "lorikeet-demo", messages, temperature: 0, max_tokens: 100, stream, tools: [weather],
    tool_choice: { type: "function", function: { name: "weather" } },
  });
  await run.done();
  assert.ok(["Paris", "Rome"].includes(seen), String(seen));
  assert.equal(run.messages.filter((m) => m.role === "tool")[0].content, "rain");
}

// Embeddings and models.
assert.equal((await client.embeddings.create({ model: "lorikeet-demo", input: ["a", "b"] })).data.length, 2);
assert.equal((await client.models.retrieve("pirate")).id, "pirate");

// Batches.
const lines = ["lorikeet-demo", "pirate", "nobody"].map((model, i) => JSON.stringify({
  custom_id: String(i), method: "POST", url: "/v1/chat/completions", body: { model, messages, temperature: 0 },
}));
const upload = await client.files.create({ file: await OpenAI.toFile(Buffer.from(lines.join("\n")), "batch.jsonl"), purpose: "batch" });
let batch = await client.batches.create({ input_file_id: upload.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
for (let i = 0; i < 300 && !["completed", "failed"].includes(batch.status); i++) {
  await new Promise((done) => setTimeout(done, 200));
  batch = await client.batches.retrieve(batch.id);
}
assert.equal(batch.status, "completed");
const results = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map((line) => JSON.parse(line));
assert.equal(results.find((r) => r.custom_id === "1").response.body.choices[0].message.content, pirate);
assert.ok(batch.error_file_id && batch.request_counts.failed === 1, JSON.stringify(batch));
