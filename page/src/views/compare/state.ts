import {createStore} from "../../lib/store.ts";
import {defaultSampling, type Sampling} from "../../lib/request.ts";
import type {Cell, Question} from "./question.ts";
import {runAll} from "./run.ts";

// The comparison outlives the view, as the chat does.

export interface Column {
  id: number;
  name: string; // an adapter, name@version or checkpoint; "": the base
}

export const maxColumns = 8;
export const maxPrompts = 50;

interface Setup {
  mode: "one" | "many";
  columns: Column[];
  prompt: string;
  prompts: string; // one a line
  system: string;
  sampling: Sampling;
}

// The likeliest tokens are taken unless told: answers then differ by the adapters alone.
export const setup = createStore<Setup>({
  mode: "one", columns: [], prompt: "", prompts: "", system: "", sampling: {...defaultSampling, temperature: 0, max_tokens: 256},
});

// A Result is the answers to prompts, a line for each, by the columns as they were when it began.
export interface Result {
  columns: Column[];
  lines: {prompt: string; cells: Cell[]}[];
  busy: boolean;
  began: number; // milliseconds
  ended: number; // 0 while it runs
}

const none: Result = {columns: [], lines: [], busy: false, began: 0, ended: 0};

export const results = {one: createStore<Result>(none), many: createStore<Result>(none)};

let lastID = 0;
export const newColumn = (name: string): Column => ({id: ++lastID, name});

// setColumns begins a comparison of these adapters.
export function setColumns(names: string[]): void {
  setup.update((s) => ({...s, columns: names.slice(0, maxColumns).map(newColumn)}));
}

export const promptList = (text: string): string[] => text.split("\n").map((line) => line.trim()).filter((line) => line !== "");

const aborts = new Map<string, AbortController>();

export function stopRun(mode: "one" | "many"): void {
  aborts.get(mode)?.abort();
}

// run asks every column every prompt of the mode.
export async function run(base: string, mode: "one" | "many"): Promise<void> {
  stopRun(mode);
  const own = new AbortController();
  aborts.set(mode, own);
  const {columns, system, sampling, ...s} = setup.get();
  const prompts = mode === "one" ? [s.prompt] : promptList(s.prompts);
  const questions: Question[] = prompts.flatMap((prompt) => columns.map((c) => ({name: c.name, prompt, system, sampling})));
  const store = results[mode];
  store.set({columns, lines: prompts.map((prompt) => ({prompt, cells: columns.map(() => ({state: "waiting"}))})), busy: true, began: performance.now(), ended: 0});
  await runAll(base, questions, own.signal, (i, cell) => {
    if (aborts.get(mode) !== own) return;
    store.update((r) => ({...r, lines: r.lines.map((line, n) => (n === Math.floor(i / columns.length) ? {...line, cells: line.cells.with(i % columns.length, cell)} : line))}));
  });
  if (aborts.get(mode) === own) {
    store.update((r) => ({
      ...r, busy: false, ended: performance.now(),
      lines: r.lines.map((line) => ({...line, cells: line.cells.map((c) => (c.state === "waiting" ? {state: "stopped"} : c))})),
    }));
  }
}
