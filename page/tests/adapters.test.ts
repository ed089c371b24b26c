import assert from "node:assert/strict";
import {test} from "node:test";
import {chooseFiles, mergeRequest, nameOf, type Merge} from "../src/views/adapters/add.ts";

const files = (...paths: string[]): {path: string}[] => paths.map((path) => ({path}));
const chosen = (...paths: string[]): string[] => chooseFiles(files(...paths)).map((f) => f.path);

test("of a trainer's folder, the adapter is chosen without its checkpoints and what else lies there", () => {
  const own = ["out/adapter_config.json", "out/adapter_model.safetensors", "out/additional_chat_templates/tool_use.jinja", "out/tokenizer_config.json"];
  const rest = ["out/README.md", "out/checkpoint-10/adapter_config.json", "out/checkpoint-10/adapter_model.safetensors", "out/optimizer.pt", "other/chat_template.jinja"];
  assert.deepEqual(chosen(...rest, ...own), own);
  assert.deepEqual(chosen("adapter_model.safetensors", "adapter_config.json", "notes.txt"), ["adapter_model.safetensors", "adapter_config.json"]);
});

test("where no adapter is seen, all is sent for the server to say what is missing", () => {
  assert.deepEqual(chosen("a.gguf"), ["a.gguf"]);
  assert.deepEqual(chosen("out/adapter_model.safetensors", "out/README.md"), ["out/adapter_model.safetensors", "out/README.md"]);
});

test("a name is proposed that the server takes", () => {
  assert.equal(nameOf(files("runs/my adapter/adapter_config.json", "runs/my adapter/adapter_model.safetensors")), "my-adapter");
  assert.equal(nameOf(files("terse.tar.gz")), "terse");
  assert.equal(nameOf(files("v1.2.gguf")), "v1.2");
  assert.equal(nameOf(files("adapter_config.json", "adapter_model.safetensors")), "");
  assert.equal(nameOf([]), "");
});

test("a merge has the fields of its method alone", () => {
  const m: Merge = {name: " both ", parts: [{name: "a", weight: null}, {name: "b@1234", weight: -0.5}], method: "cat", density: 0.5, sign: "frequency", rank: 4, seed: 7};
  const parts = {name: "both", from: [{name: "a"}, {name: "b@1234", weight: -0.5}]};
  assert.deepEqual(mergeRequest(m), {...parts, method: "cat"});
  assert.deepEqual(mergeRequest({...m, method: "svd"}), {...parts, method: "svd", rank: 4});
  assert.deepEqual(mergeRequest({...m, method: "dare_ties"}), {...parts, method: "dare_ties", density: 0.5, majority_sign_method: "frequency", seed: 7});
  assert.deepEqual(mergeRequest({...m, method: "magnitude_prune", density: null}), {...parts, method: "magnitude_prune"});
});
