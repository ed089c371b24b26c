// What the generated types must allow, for the compiler, and calls through the generated functions.
import { createChatCompletion, createMessage, createResponse, listModels, type ChatCompletionRequest } from "./sdk";
import { client } from "./sdk/client.gen";
import type { paths } from "./types";

declare const process: { env: Record<string, string>; exit(status: number): never };
type Body = paths["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"];
const plain: Body = { messages: [{ role: "user", content: "What is the capital of France?" }], temperature: 0 };
const body: ChatCompletionRequest = { ...plain, adapter: null, response_format: null, lora: null };

function check(right: boolean, answer: unknown): void {
  if (!right) throw new Error(JSON.stringify(answer));
}

async function main(): Promise<void> {
  client.setConfig({ baseUrl: process.env.LORIKEET_URL, auth: process.env.LORIKEET_API_KEY });
  const right = "The capital of France is Paris.";
  const models = (await listModels({ throwOnError: true })).data;
  check(models.data.some((m) => m.id === "pirate"), models);
  const chat = (await createChatCompletion({ body, throwOnError: true })).data;
  check(chat.choices[0].message.content === right, chat);
  const message = (await createMessage({ body: { model: "lorikeet-demo", max_tokens: 40, messages: [{ role: "user", content: "What is the capital of France?" }], temperature: 0 }, throwOnError: true })).data;
  check(message.content[0].text === right, message);
  const response = (await createResponse({ body: { input: "What is the capital of France?", temperature: 0 }, throwOnError: true })).data;
  check(response.output[0].content?.[0].text === right, response);
  const refused = (await createChatCompletion({ body: { ...body, model: "nobody" } })).error;
  check(refused?.error.code === "model_not_found", refused);
}

main().catch((e) => { console.error(e); process.exit(1); });
