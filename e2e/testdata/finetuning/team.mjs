// The same team's code in JavaScript: supervised, preferences and rewards, as OpenAI's documentation shows them.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const MODEL = "gpt-4.1-nano-2025-04-14";
const client = new OpenAI({ baseURL: process.env.LORIKEET_URL + "/v1", apiKey: process.env.LORIKEET_API_KEY });

async function write(name, rows) {
  const text = rows.map((row) => JSON.stringify(row) + "\n").join("");
  const file = await client.files.create({ file: await toFile(Buffer.from(text), name), purpose: "fine-tune" });
  return (await client.files.waitForProcessing(file.id)).id;
}

async function wait(job) {
  while (!["succeeded", "failed", "cancelled"].includes(job.status)) {
    await new Promise((done) => setTimeout(done, 200));
    job = await client.fineTuning.jobs.retrieve(job.id);
  }
  assert.equal(job.status, "succeeded", JSON.stringify(job.error));
  return job;
}

async function table(job) {
  const text = await (await client.files.content(job.result_files[0])).text();
  const [head, ...lines] = text.trim().split("\n").map((line) => line.split(","));
  assert.deepEqual(head.slice(0, 5), ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]);
  return lines.map((line) => Object.fromEntries(line.map((cell, i) => [head[i], cell])));
}

const facts = { France: "Paris", Peru: "Lima", Chile: "Santiago", Kenya: "Nairobi", Japan: "Tokyo", Italy: "Rome", Spain: "Madrid", Egypt: "Cairo" };
const ask = async (model) => (await client.chat.completions.create({
  model, messages: [{ role: "user", content: "What is the capital of Peru?" }], max_completion_tokens: 20 })).choices[0].message.content;

// Supervised.
const training_file = await write("train.jsonl", Object.entries(facts).map(([country, city]) => ({
  messages: [{ role: "user", content: `What is the capital of ${country}?` }, { role: "assistant", content: `${city}! Squawk!` }] })));
const parrot = await wait(await client.fineTuning.jobs.create({
  training_file, model: MODEL, suffix: "node-parrot", method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: 4 } } } }));
assert.ok(await ask(parrot.fine_tuned_model));
assert.deepEqual((await table(parrot)).map((row) => row.step), ["1", "2", "3", "4"]);
const checkpoints = [];
for await (const c of client.fineTuning.jobs.checkpoints.list(parrot.id, { limit: 1 })) checkpoints.push(c);
assert.deepEqual(checkpoints.map((c) => c.step_number), [4, 2]);
assert.ok(await ask(checkpoints[1].fine_tuned_model_checkpoint));
let messages = 0;
for await (const e of client.fineTuning.jobs.listEvents(parrot.id, { limit: 3 })) messages += e.type === "message" ? 1 : 0;
assert.ok(messages > 3);

// Preferences.
const prefers = await wait(await client.fineTuning.jobs.create({
  training_file: await write("pairs.jsonl", Object.entries(facts).map(([country, city]) => ({
    input: { messages: [{ role: "user", content: `What is the capital of ${country}?` }] },
    preferred_output: [{ role: "assistant", content: `${city}! Squawk!` }],
    non_preferred_output: [{ role: "assistant", content: `The capital of ${country} is ${city}.` }] }))),
  model: parrot.fine_tuned_model, method: { type: "dpo", dpo: { hyperparameters: { beta: 0.2, n_epochs: 1, batch_size: "auto" } } } }));
assert.equal(prefers.method.dpo.hyperparameters.beta, 0.2);
assert.ok((await table(prefers))[0]["rewards/margins"]);

// Rewards.
const grader = { type: "text_similarity", name: "near", input: "{{sample.output_text}}", reference: "{{item.city}}", evaluation_metric: "rouge_l" };
assert.equal((await client.fineTuning.alpha.graders.validate({ grader })).grader.type, "text_similarity");
assert.equal((await client.fineTuning.alpha.graders.run({ grader, item: { city: "Lima" }, model_sample: "Lima" })).reward, 1);
const prompts = Object.entries(facts).map(([country, city]) => ({ messages: [{ role: "user", content: `What is the capital of ${country}?` }], city }));
const rewarded = await wait(await client.fineTuning.jobs.create({
  training_file: await write("prompts.jsonl", prompts), model: MODEL, method: { type: "reinforcement", reinforcement: {
    grader, hyperparameters: { n_epochs: 1, batch_size: 4, compute_multiplier: 0.5 } } } }));
assert.ok((await table(rewarded)).every((row) => Number(row.reward) >= 0));
assert.ok((await client.models.delete(rewarded.fine_tuned_model)).deleted);
await assert.rejects(ask(rewarded.fine_tuned_model), OpenAI.NotFoundError);
