import type {JSX} from "preact";
import {api, ask, type Schema} from "../../lib/api.ts";
import {number, percent, significant} from "../../lib/format.ts";
import {usePoll} from "../../lib/poll.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {ErrorNotice, Loading} from "../../parts/notice.tsx";
import {Table} from "../../parts/table.tsx";
import {words} from "./words.ts";

// Report compares the base with the adapter that a job made.
export function Report(p: {name: string}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const report = usePoll(async (signal) => (await ask(api.GET("/adapters/{name}/report", {params: {path: {name: p.name}}, signal}))) as Schema<"TrainingReport">, 0, p.name);
  const r = report.data;
  return (
    <section class="stack tight" aria-labelledby="train-report">
      <h2 id="train-report">{w.report}</h2>
      <ErrorNotice error={report.error} onRetry={report.reload} />
      {report.loading && <Loading />}
      {r !== undefined && r.base !== null && r.trained !== null && (
        <Table caption={w.measured(w.datasets[r.measured_on] ?? r.measured_on)} items={measures(r.base, r.trained)} keyOf={(m) => m.name} columns={[
          {title: w.measure, head: true, cell: (m) => w.measures[m.name] ?? m.name},
          {title: w.before, end: true, cell: (m) => show(m.name, m.base)},
          {title: w.after, end: true, cell: (m) => show(m.name, m.trained)},
        ]} />
      )}
      {r?.samples.map((s, i) => (
        <article key={i} class="card stack tight" aria-label={w.sampleN(number(i + 1, l))}>
          {s.messages.map((m, k) => <p key={k} class="sample"><span class="badge">{m.role}</span> {m.content}</p>)}
          <dl class="answers">
            {([[w.reference, s.reference], [w.before, s.base], [w.after, s.adapter]] as const).map(([name, text]) => (
              <div key={name}><dt class="small muted">{name}</dt><dd class="sample">{text ?? w.notAsked}</dd></div>
            ))}
          </dl>
        </article>
      ))}
    </section>
  );

  function show(name: string, value: number): string {
    return name === "accuracy" ? percent(value, l) : significant(value, l);
  }
}

type Quality = NonNullable<Schema<"TrainingReport">["base"]>;

// measures are what both have, the method's own ones last. A perplexity of 0 means that the method has none.
function measures(base: Quality, trained: Quality): {name: string; base: number; trained: number}[] {
  const flat = (q: Quality): Record<string, number> => ({loss: q.loss, ...(q.perplexity > 0 ? {perplexity: q.perplexity} : {}), accuracy: q.accuracy, ...q.measures});
  const a = flat(base);
  const b = flat(trained);
  return Object.keys(b).filter((name) => a[name] !== undefined).map((name) => ({name, base: a[name] ?? 0, trained: b[name] ?? 0}));
}
