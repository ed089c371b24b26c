import type {JSX} from "preact";
import {bytes, duration, number, significant} from "../../lib/format.ts";
import {link} from "../../lib/router.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {Progress} from "../../parts/progress.tsx";
import type {State} from "./history.ts";
import {words} from "./words.ts";

// kindOf colours a meter: nearly full is a warning.
const kindOf = (value: number, max: number): "good" | "warn" => (max > 0 && value > 0.9 * max ? "warn" : "good");

// Memory shows what is held of each bound.
export function Memory(p: {state: State}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const kv = p.state.kv_cache;
  return (
    <section class="card stack tight" aria-labelledby="server-memory">
      <h2 id="server-memory">{w.memory}</h2>
      <Progress meter label={w.kvCache} value={kv.used} max={kv.cells} text={w.kvText(number(kv.used, l), number(kv.cells, l), number(kv.running, l))} />
      {p.state.memory.map((m) => {
        const limit = m.limit ?? 0;
        const text = m.limit === null ? w.unbounded(bytes(m.bytes, l)) : w.ofBound(bytes(m.bytes, l), bytes(limit, l));
        return <Progress key={m.name} meter label={w.memoryNames[m.name] ?? m.name} value={m.bytes} max={limit} kind={kindOf(m.bytes, limit)} text={text} />;
      })}
    </section>
  );
}

// Counts lists what has happened since the start.
export function Counts(p: {state: State}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const {adapters: a, kv_cache: kv, prefix_cache: prefix} = p.state;
  const lines: [string, string][] = [
    [w.registered, number(a.registered, l)],
    [w.resident, number(a.resident, l)],
    [w.leased, number(a.leased, l)],
    [w.loads, w.loadsText(number(a.loads, l), duration(a.load_seconds, l))],
    [w.failures, number(a.load_failures, l)],
    [w.evictions, number(a.evictions, l)],
    [w.waitingRoom, number(a.waiting, l)],
    [w.prefixHits, w.ofN(number(prefix.hits, l), number(prefix.prompts, l))],
    [w.prefixEvictions, number(prefix.evictions, l)],
    [w.preempted, number(kv.preempted, l)],
  ];
  return (
    <section class="card stack tight" aria-labelledby="server-counts">
      <h2 id="server-counts">{w.counts}</h2>
      <dl class="list">
        {lines.map(([name, value]) => (
          <div key={name}><dt>{name}</dt><dd class="number">{value}</dd></div>
        ))}
      </dl>
    </section>
  );
}

// Training lists the jobs that run.
export function Training(p: {state: State}): JSX.Element | null {
  const w = useWords(words);
  const l = useLanguage();
  const t = p.state.training;
  if (t === null) return null;
  return (
    <section class="card stack tight" aria-labelledby="server-training">
      <h2 id="server-training">{w.training}</h2>
      {t.jobs.map((j) => (
        <Progress key={j.id} label={j.name} value={j.step} max={j.steps} text={w.jobText(number(j.step, l), number(j.steps, l), significant(j.tokens_per_second, l))} />
      ))}
      <p class="muted">{t.jobs.length === 0 ? w.noJobs : ""} {t.waiting > 0 ? w.jobsWait(number(t.waiting, l)) : ""}</p>
      <p><a href={link("train")}>{w.openTraining}</a></p>
    </section>
  );
}
