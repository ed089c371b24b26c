import type {JSX} from "preact";
import type {Schema} from "../../lib/api.ts";
import {duration, number} from "../../lib/format.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {AdapterMark} from "../../parts/mark.tsx";
import {Table, type Column} from "../../parts/table.tsx";
import {partsOf, type State} from "./history.ts";
import {words} from "./words.ts";

type Request = Schema<"RecentRequest">;

// Requests lists the last requests with where their time went.
export function Requests(p: {state: State}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const list = p.state.requests;
  const nameOf = (adapters: string[]): string => (adapters.length === 0 ? w.base : adapters.join(" + "));
  const longest = Math.max(1, ...list.map((r) => r.timings.total_ms));
  const columns: Column<Request>[] = [
    {title: w.endpoint, head: true, cell: (r) => <><span class="mono endpoint">{r.endpoint}</span>{r.stream && <> <span class="badge">{w.stream}</span></>}{r.batch && <> <span class="badge">{w.batchLine}</span></>}</>},
    {title: w.adapters, cell: (r) => (r.answers === 0 ? "–" : <span class="named"><AdapterMark name={nameOf(r.adapters)} /> {nameOf(r.adapters)}</span>)},
    {title: w.status, cell: (r) => <span class={r.status < 400 ? "badge good" : "badge bad"}>{r.status}{r.error === null ? "" : ` ${r.error}`}</span>},
    {title: w.tokensIn, end: true, cell: (r) => <>{number(r.prompt_tokens, l)}{r.cached_tokens > 0 && <><br /><span class="muted small">{number(r.cached_tokens, l)} {w.tokensCached}</span></>}</>},
    {title: w.tokensOut, end: true, cell: (r) => number(r.completion_tokens, l)},
    {title: w.timing, cell: (r) => <Timing timings={r.timings} longest={longest} />},
    {title: w.came, end: true, cell: (r) => duration(r.timings.total_ms / 1000, l)},
    {title: w.request, cell: (r) => <span class="mono muted request-id">{r.id}</span>},
  ];
  if (list.some((r) => r.tenant !== null)) columns.push({title: w.tenant, cell: (r) => r.tenant ?? "–"});
  return (
    <section class="stack tight" aria-labelledby="server-requests">
      <div class="row spread">
        <h2 id="server-requests">{w.requests}</h2>
        <ul class="legend" aria-label={w.legend}>
          {Object.entries(w.parts).map(([name, text]) => <li key={name}><span class={`swatch part-${name}`} aria-hidden="true" />{text}</li>)}
        </ul>
      </div>
      {list.length === 0 ? <p class="empty">{w.noRequests}</p> : <Table caption={w.requestList} hideCaption columns={columns} items={list} keyOf={(r) => r.id + r.created_at} />}
    </section>
  );
}

// Timing is a bar of a request's time, as long as its part of the longest request's, and the same in numbers.
function Timing(p: {timings: Schema<"RequestTimings">; longest: number}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const parts = partsOf(p.timings);
  const said = parts.filter((x) => x.ms >= 0.5);
  const time = (ms: number): string => (ms < 10 ? `${number(ms, l, 1)} ms` : duration(ms / 1000, l));
  return (
    <div class="timing">
      <div class="timing-bar" aria-hidden="true">
        {parts.map((x) => <span key={x.name} class={`part-${x.name}`} style={{width: `${(100 * x.ms) / p.longest}%`}} />)}
      </div>
      <span class="muted small number">{(said.length > 0 ? said : parts.slice(0, 1)).map((x) => `${w.parts[x.name] ?? x.name} ${time(x.ms)}`).join(" · ")}</span>
    </div>
  );
}
