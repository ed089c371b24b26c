import assert from "node:assert/strict";
import {execFileSync} from "node:child_process";
import {test} from "node:test";
import {emptyAnswer} from "../src/lib/completion.ts";
import {csv, csvCell} from "../src/lib/csv.ts";
import {compareTexts, share} from "../src/lib/diff.ts";
import {defaultSampling} from "../src/lib/request.ts";
import {questionRequest} from "../src/views/compare/question.ts";
import {tableLines} from "../src/views/compare/table.ts";

const marked = (first: string, text: string): string =>
  compareTexts(first, text).map((p) => (p.kind === "same" ? p.text : p.kind === "added" ? `[${p.text}]` : `<${p.text}>`)).join("");

test("words that differ are marked", () => {
  assert.equal(marked("a b c", "a b c"), "a b c");
  assert.equal(marked("the red parrot flies", "the green parrot flies"), "the <red>[green] parrot flies");
  assert.equal(marked("Yes, it does.", "No, it does not."), "<Yes>[No], it does [not].");
  assert.equal(marked("", "new"), "[new]");
  assert.equal(marked("old", ""), "<old>");
});

test("languages without spaces are compared by words", () => {
  assert.equal(marked("我喜欢红色的鹦鹉", "我喜欢绿色的鹦鹉"), "我喜欢<红色>[绿色]的鹦鹉");
});

test("the pieces make up the text, whatever it is", () => {
  const texts = ["", " ", "a", "a b", "b a ", "  a\n\nb\tc", "A: 1.\n- x\n- y", "日本 語 x", "é e\u0301 😀😀", "a".repeat(50) + " b"];
  for (const first of texts) {
    for (const text of texts) {
      assert.equal(compareTexts(first, text).filter((p) => p.kind !== "missing").map((p) => p.text).join(""), text, JSON.stringify([first, text]));
    }
  }
});

test("texts with nothing in common end soon", () => {
  const of = (word: string): string => Array.from({length: 20000}, (_, i) => word + i).join(" ");
  const began = performance.now();
  const pieces = compareTexts(of("a"), of("b"));
  assert.ok(performance.now() - began < 10_000);
  assert.equal(pieces.filter((p) => p.kind === "added").map((p) => p.text).join(""), of("b"));
});

test("the share of what is the same", () => {
  assert.equal(share(compareTexts("a b", "a b")), 1);
  assert.equal(share(compareTexts("a", "b")), 0);
  assert.equal(share(compareTexts("ab cd", "ab xy")), 0.6);
  assert.equal(share([]), 0);
});

test("cells of a spreadsheet stay text", () => {
  for (const formula of ["=1+1", "+1", "-2", "@SUM(A1)", " =1", "\t=1", "\r=1", '=HYPERLINK("x")', "-\n"]) {
    assert.match(csvCell(formula), /^"?'/, JSON.stringify(formula));
  }
  assert.deepEqual([csvCell("a-b"), csvCell("1=1"), csvCell(""), csvCell(-1.5), csvCell(NaN)], ["a-b", "1=1", "", "-1.5", ""]);
  assert.deepEqual([csvCell('say "x", y'), csvCell("two\nlines"), csvCell(" x")], ['"say ""x"", y"', '"two\nlines"', '" x"']);
});

test("a CSV reader gets the table back", () => {
  const lines = [["prompt", "it's, \"a\""], ["=x", "two\r\nlines\n"], ["日本", ";tab\t"], ["", 4.5]];
  const out = execFileSync("python3", ["-c", "import csv, io, json, sys\nprint(json.dumps(list(csv.reader(io.StringIO(sys.stdin.buffer.read().decode('utf-8-sig'), newline='')))))"], {input: csv(lines)});
  assert.deepEqual(JSON.parse(out.toString()), [["prompt", "it's, \"a\""], ["'=x", "two\r\nlines\n"], ["日本", ";tab\t"], ["", "4.5"]]);
});

test("the exported table has each answer with its speed", () => {
  const done = {state: "done" as const, answer: {...emptyAnswer(0), text: "hi", perSecond: 12.345}};
  const lines = tableLines(["base", "a@1"], [{prompt: "p", cells: [done, {state: "failed", error: new Error("gone")}]}, {prompt: "q", cells: [{state: "stopped"}, done]}], {
    prompt: "Prompt", speed: (c) => c + " t/s", error: (e) => "Error: " + (e as Error).message,
  });
  assert.deepEqual(lines, [["Prompt", "base", "base t/s", "a@1", "a@1 t/s"], ["p", "hi", 12.3, "Error: gone", ""], ["q", "", "", "hi", 12.3]]);
});

test("each column asks the same of another adapter", () => {
  const q = {name: "a@step-100", prompt: "p", system: " ", sampling: {...defaultSampling, temperature: 0}};
  assert.deepEqual(questionRequest("base", q), {model: "a@step-100", messages: [{role: "user", content: "p"}], temperature: 0});
  assert.deepEqual(questionRequest("base", {...q, name: "", system: "s"}), {
    model: "base", messages: [{role: "system", content: "s"}, {role: "user", content: "p"}], temperature: 0,
  });
});
