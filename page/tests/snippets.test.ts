import assert from "node:assert/strict";
import {execFileSync} from "node:child_process";
import {mkdtempSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {test} from "node:test";
import {asCurl, asPython} from "../src/lib/snippets.ts";

const odd = `it's "quoted" \\ back\\\\slash $HOME \`ls\` $(rm) !x %s\nnew line\ttab\r\u2028 \u0000 日本 😀 '''three''' """three"""`;

const body = {
  model: `o'ne"`,
  messages: [{role: "system", content: odd}, {role: "user", content: odd}],
  stream: true,
  temperature: 0.5,
  adapter: [{name: "a", scale: -1.5}, {name: `b'"`}],
  response_format: {type: "json_schema", json_schema: {schema: {const: null, nullable: true, empty: {}, none: []}}},
  min_p: 1e-7,
};

const url = "http://127.0.0.1:8080";

test("the curl command sends the request as it is", () => {
  for (const key of [true, false]) {
    const text = asCurl({url, body, key});
    // A function in place of curl prints its words, which a shell has read.
    const out = execFileSync("sh", ["-c", `curl() { for word in "$@"; do printf '%s\\0' "$word"; done; }\n${text}`], {env: {LORIKEET_API_KEY: "k'1"}});
    const got = out.toString().split("\0").slice(0, -1);
    assert.deepEqual(got.slice(0, 4), ["-N", url + "/v1/chat/completions", "-H", "Content-Type: application/json"]);
    assert.equal(got.includes("Authorization: Bearer k'1"), key);
    assert.deepEqual(JSON.parse(got.at(-1) ?? ""), body);
  }
});

test("the Python program sends the request as it is", () => {
  const folder = mkdtempSync(join(tmpdir(), "snippets-"));
  // In place of OpenAI's client, one that prints what it is given.
  writeFileSync(join(folder, "openai.py"), `
import json

class OpenAI:
    def __init__(self, base_url, api_key):
        self.made = {"base_url": base_url, "api_key": api_key}
        self.chat = self.completions = self

    def create(self, **fields):
        extra = fields.pop("extra_body", {})
        print(json.dumps({"made": self.made, "fields": fields, "extra": extra}))
        return []
`);
  for (const key of [true, false]) {
    writeFileSync(join(folder, "program.py"), asPython({url, body, key}));
    const out = execFileSync("python3", ["program.py"], {cwd: folder, env: {PATH: process.env.PATH, LORIKEET_API_KEY: "k'1"}});
    const got = JSON.parse(out.toString()) as {made: unknown; fields: object; extra: object};
    assert.deepEqual(got.made, {base_url: url + "/v1", api_key: key ? "k'1" : "none"});
    assert.deepEqual({...got.fields, ...got.extra}, body);
    assert.deepEqual(Object.keys(got.extra), ["adapter", "min_p"]);
  }
});
