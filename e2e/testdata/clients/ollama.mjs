// The ollama package for Node, pointed at another host.
import assert from "node:assert/strict";
import { Ollama } from "ollama";

const { LORIKEET_URL: host, LORIKEET_API_KEY: apiKey } = process.env;
const client = new Ollama({ host, headers: { Authorization: "Bearer " + apiKey } });
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
const names = (await client.list()).models.map((m) => m.name);
assert.ok(names.includes("pirate:latest"), String(names));
assert.equal((await client.show({ model: "pirate" })).details.parent_model, "lorikeet-demo");
assert.equal((await client.embed({ model: "lorikeet-demo", input: "a" })).embeddings.length, 1);
await assert.rejects(client.chat({ model: "nobody", messages }), /nobody/);
