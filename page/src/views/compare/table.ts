import {speed} from "../../lib/completion.ts";
import type {Cell} from "./question.ts";

interface Names {
  prompt: string;
  speed: (column: string) => string;
  error: (error: unknown) => string;
}

// tableLines are the lines of the exported table: a prompt, then for each column its answer and its tokens per second.
export function tableLines(columns: string[], lines: {prompt: string; cells: Cell[]}[], names: Names): (string | number)[][] {
  const head = [names.prompt, ...columns.flatMap((c) => [c, names.speed(c)])];
  const rest = lines.map((line) => [
    line.prompt,
    ...line.cells.flatMap((c) => [
      c.state === "failed" ? names.error(c.error) : c.answer?.text ?? "",
      c.answer !== undefined && c.state === "done" ? Math.round(speed(c.answer) * 10) / 10 : "",
    ]),
  ]);
  return [head, ...rest];
}
