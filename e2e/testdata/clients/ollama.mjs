// The ollama package for Node, used as its documentation shows.
import assert from "node:assert/strict";
import { Ollama } from "ollama";

const client = new Ollama({ host: process.env.LORIKEET_URL, headers: { Authorization: "Bearer " + process.env.LORIKEET_API_KEY } });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const options = { temperature: 0 };

const base = await client.chat({ model: "lorikeet-demo", messages, options });
assert.equal(base.message.content, "The capital of France is Paris.");
const pirate = (await client.chat({ model: "pirate", messages, options })).message.content;
assert.notEqual(pirate, base.message.content);
let text = "";
for await (const part of await client.chat({ model: "pirate", messages, options, stream: true })) text += part.message.content;
assert.equal(text, pirate);
assert.equal((await client.generate({ model: "pirate", prompt: messages[0].content, options })).response, pirate);
assert.ok((await client.list()).models.some((m) => m.model.startsWith("pirate")));
await assert.rejects(client.chat({ model: "nobody", messages }));
