import type {JSX} from "preact";
import {duration, number} from "../../lib/format.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {AdapterMark} from "../../parts/mark.tsx";
import {Table, type Column} from "../../parts/table.tsx";
import type {Schema} from "../../lib/api.ts";
import type {State} from "./history.ts";
import {words} from "./words.ts";

type Row = Schema<"StateRow">;

// Batch draws the places of the batch, and lists the requests in them.
export function Batch(p: {state: State}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const {rows, parallel, running} = p.state.batch;
  const nameOf = (adapters: string[]): string => (adapters.length === 0 ? w.base : adapters.join(" + "));
  const hidden = running - rows.length;
  const columns: Column<Row & {key: string}>[] = [
    {title: w.adapters, head: true, cell: (r) => <span class="named"><AdapterMark name={nameOf(r.adapters)} /> {nameOf(r.adapters)}</span>},
    {title: w.phase, cell: (r) => (r.phase === "prefill" ? w.prefillPhase : w.decodePhase)},
    {title: w.prompt, end: true, cell: (r) => (r.read_tokens < r.prompt_tokens ? w.promptRead(number(r.read_tokens, l), number(r.prompt_tokens, l)) : number(r.prompt_tokens, l))},
    {title: w.tokens, end: true, cell: (r) => number(r.completion_tokens, l)},
    {title: w.since, end: true, cell: (r) => duration(r.seconds, l)},
  ];
  if (rows.some((r) => r.tenant !== null)) columns.push({title: w.tenant, cell: (r) => r.tenant ?? "–"});
  return (
    <section class="stack tight" aria-labelledby="server-batch">
      <h2 id="server-batch">{w.batch}</h2>
      <div class="places" role="img" aria-label={w.places(number(running, l), number(parallel, l))}>
        {rows.map((r, i) => <span key={i} class={r.phase === "prefill" ? "place reading" : "place"}><AdapterMark name={nameOf(r.adapters)} /></span>)}
        {Array.from({length: Math.max(0, hidden)}, (_, i) => <span key={`h${i}`} class="place other">?</span>)}
        {Array.from({length: Math.max(0, parallel - running)}, (_, i) => <span key={`f${i}`} class="place free" />)}
      </div>
      <p class="muted small">{w.batchHint}</p>
      {rows.length === 0 ? <p class="empty">{w.emptyBatch}</p> : (
        <Table caption={w.batchList} hideCaption columns={columns} items={rows.map((r, i) => ({...r, key: String(i)}))} keyOf={(r) => r.key} />
      )}
      {hidden > 0 && <p class="muted small">{w.others(number(hidden, l))}</p>}
    </section>
  );
}
