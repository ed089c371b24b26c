import type {Answer} from "../../lib/completion.ts";
import {isAbort} from "../../lib/error.ts";
import {complete} from "../../lib/run.ts";
import {questionRequest, type Cell, type Question} from "./question.ts";

// lanes is how many answers are under way at once.
export const lanes = 8;

// runAll asks all questions, eight at a time, and tells set of each cell as it changes. It throws nothing.
export async function runAll(base: string, questions: Question[], signal: AbortSignal, set: (index: number, cell: Cell) => void): Promise<void> {
  let next = 0;
  const lane = async (n: number): Promise<void> => {
    for (let i = next++; i < questions.length; i = next++) {
      const q = questions[i];
      if (q === undefined || signal.aborted) return;
      await ask(base, q, n, signal, (cell) => set(i, cell));
    }
  };
  await Promise.all(Array.from({length: Math.min(lanes, questions.length)}, (_, n) => lane(n)));
}

async function ask(base: string, q: Question, lane: number, signal: AbortSignal, set: (cell: Cell) => void): Promise<void> {
  let cell: Cell = {state: "running"};
  set(cell);
  const show = (answer: Answer): void => {
    cell = {...cell, answer};
    set(cell);
  };
  try {
    // Browsers open six connections to a server for requests with credentials and, apart from these, six for those
    // without. Half of the requests are of either kind, so that all eight reach the server at once, and share its batch.
    await complete(questionRequest(base, q), signal, show, lane % 2 === 0 ? "same-origin" : "omit");
    set({...cell, state: "done"});
  } catch (error) {
    set({...cell, ...(isAbort(error) ? {state: "stopped"} : {state: "failed", error})});
  }
}
