import type {JSX} from "preact";
import {useMemo, useState} from "preact/hooks";
import {speed} from "../../lib/completion.ts";
import {csv} from "../../lib/csv.ts";
import {compareTexts, share, type Piece} from "../../lib/diff.ts";
import {messageOf} from "../../lib/error.ts";
import {duration, number, percent} from "../../lib/format.ts";
import {save} from "../../lib/save.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {Checkbox} from "../../parts/field.tsx";
import {icons} from "../../parts/icons.tsx";
import {ErrorNotice} from "../../parts/notice.tsx";
import {Progress} from "../../parts/progress.tsx";
import {CellText} from "./celltext.tsx";
import type {Cell} from "./question.ts";
import type {Column, Result} from "./state.ts";
import {tableLines} from "./table.ts";
import {words} from "./words.ts";

// usePieces compares a finished cell with the first of its line; undefined where there is nothing to compare.
function usePieces(cells: Cell[], i: number, wanted: boolean): Piece[] | undefined {
  const textOf = (cell: Cell | undefined): string | undefined => (cell?.state === "done" ? cell.answer?.text : undefined);
  const first = wanted && i > 0 ? textOf(cells[0]) : undefined;
  const own = textOf(cells[i]);
  return useMemo(() => (first === undefined || own === undefined ? undefined : compareTexts(first, own)), [first, own]);
}

interface Marking {
  marks: boolean;
  missing: boolean;
}

function MarkChoices(p: {value: Marking; onChange: (value: Marking) => void}): JSX.Element {
  const w = useWords(words);
  return (
    <div class="row marks">
      <Checkbox label={w.marks} checked={p.value.marks} onChange={(marks) => p.onChange({...p.value, marks})} />
      <Checkbox label={w.missing} checked={p.value.missing} disabled={!p.value.marks} onChange={(missing) => p.onChange({...p.value, missing})} />
    </div>
  );
}

// Together says what the batch gave as a whole.
function Together(p: {result: Result}): JSX.Element | null {
  const w = useWords(words);
  const language = useLanguage();
  const done = p.result.lines.flatMap((l) => l.cells).filter((c) => c.state === "done");
  const tokens = done.reduce((sum, c) => sum + (c.answer?.tokens ?? 0), 0);
  const seconds = (p.result.ended - p.result.began) / 1000;
  if (p.result.busy || done.length === 0 || seconds <= 0) return null;
  return <p class="muted small number">{w.together(done.length, number(tokens, language), duration(seconds, language), number(tokens / seconds, language, 1))}</p>;
}

const nameOf = (c: Column, base: string): string => c.name || base;

// OneResult shows the answers to one prompt side by side.
export function OneResult(p: {result: Result}): JSX.Element {
  const w = useWords(words);
  const [marking, setMarking] = useState<Marking>({marks: true, missing: false});
  const line = p.result.lines[0];
  if (line === undefined) return <p class="empty above">{w.empty}</p>;
  return (
    <section class="stack above" aria-label={w.answers}>
      <div class="row spread">
        <MarkChoices value={marking} onChange={setMarking} />
        <Together result={p.result} />
      </div>
      <div class="answers">
        {p.result.columns.map((c, i) => (
          <OneAnswer key={c.id} name={nameOf(c, w.base)} cells={line.cells} index={i} marking={marking} />
        ))}
      </div>
    </section>
  );
}

function OneAnswer(p: {name: string; cells: Cell[]; index: number; marking: Marking}): JSX.Element {
  const w = useWords(words);
  const language = useLanguage();
  const cell = p.cells[p.index] ?? {state: "waiting"};
  const a = cell.answer;
  const pieces = usePieces(p.cells, p.index, p.marking.marks);
  const facts = a === undefined || a.first === 0 ? [] : [
    w.speed(number(speed(a), language, 1)), w.tokens(number(a.tokens || a.pieces, language)), w.firstToken(duration((a.first - a.began) / 1000, language)),
    ...(pieces === undefined ? [] : [w.same(percent(share(pieces), language))]),
  ];
  return (
    <article class="card answer" aria-label={w.answer(p.name)}>
      <h2>{p.name}</h2>
      {a !== undefined && a.adapters.length > 0 && a.adapters.join() !== p.name && <p class="muted small mono">{a.adapters.join(" + ")}</p>}
      <CellText cell={cell} pieces={pieces} missing={p.marking.missing} />
      <ErrorNotice error={cell.error} />
      {facts.length > 0 && <p class="muted small number">{facts.join(" · ")}</p>}
    </article>
  );
}

// ManyResult is the table of several prompts.
export function ManyResult(p: {result: Result}): JSX.Element | null {
  const w = useWords(words);
  const [marking, setMarking] = useState<Marking>({marks: true, missing: false});
  const r = p.result;
  if (r.lines.length === 0) return <p class="empty above">{w.empty}</p>;
  const cells = r.lines.flatMap((l) => l.cells);
  const ended = cells.filter((c) => c.state !== "waiting" && c.state !== "running").length;
  const names = r.columns.map((c) => nameOf(c, w.base));
  const download = (): void =>
    save("comparison.csv", "text/csv;charset=utf-8", csv(tableLines(names, r.lines, {prompt: w.prompt, speed: w.ofColumn, error: (e) => w.error(messageOf(e))})));
  return (
    <section class="stack above" aria-label={w.answers}>
      <div class="row spread">
        <MarkChoices value={marking} onChange={setMarking} />
        <Button small icon={icons.download()} disabled={ended === 0} onClick={download}>{w.export}</Button>
      </div>
      {r.busy && <Progress label={w.progress} value={ended} max={cells.length} text={w.of(ended, cells.length)} />}
      <Together result={r} />
      <div class="table-frame" role="region" aria-label={w.answerTable} tabIndex={0}>
        <table class="table many">
          <thead>
            <tr>
              <th scope="col">{w.prompt}</th>
              {names.map((name, i) => <th key={i} scope="col">{name}</th>)}
            </tr>
          </thead>
          <tbody>
            {r.lines.map((line, n) => (
              <tr key={n}>
                <th scope="row">{line.prompt}</th>
                {line.cells.map((_, i) => <TableCell key={i} cells={line.cells} index={i} marking={marking} />)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function TableCell(p: {cells: Cell[]; index: number; marking: Marking}): JSX.Element {
  const w = useWords(words);
  const language = useLanguage();
  const cell = p.cells[p.index] ?? {state: "waiting"};
  const pieces = usePieces(p.cells, p.index, p.marking.marks);
  return (
    <td>
      <CellText cell={cell} pieces={pieces} missing={p.marking.missing} />
      {cell.error !== undefined && <span class="fault">{messageOf(cell.error)}</span>}
      {cell.answer !== undefined && cell.state === "done" && <span class="muted small number">{w.speed(number(speed(cell.answer), language, 1))}</span>}
    </td>
  );
}
