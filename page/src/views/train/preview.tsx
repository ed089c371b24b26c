import type {JSX} from "preact";
import type {Schema} from "../../lib/api.ts";
import {bytes, compact, duration, number, significant} from "../../lib/format.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {Notice} from "../../parts/notice.tsx";
import {Progress} from "../../parts/progress.tsx";
import {Table} from "../../parts/table.tsx";
import {words} from "./words.ts";

type Shown = Schema<"TrainingPreview">;

// Cost says what a job of these settings takes.
export function Cost(p: {preview: Shown}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const {preview: v} = p;
  const m = v.memory;
  const lines: [string, string][] = [
    [w.steps, w.stepsText(number(v.steps, l), number(v.steps_per_epoch, l))],
    [w.trainedTokens, compact(v.tokens, l)],
    [w.minutes, v.estimated_minutes === null ? w.noSpeed : w.about(duration(v.estimated_minutes * 60, l))],
  ];
  return (
    <section class="card stack tight" aria-labelledby="train-cost">
      <h3 id="train-cost">{w.cost}</h3>
      <dl class="list">
        {lines.map(([name, value]) => <div key={name}><dt>{name}</dt><dd class="number">{value}</dd></div>)}
      </dl>
      {v.speed !== null && <p class="muted small">{w.speedOf(significant(v.speed.tokens_per_second, l), v.speed.job ?? "–")}</p>}
      {m !== null && m.refused === null && (
        <>
          <Progress meter label={w.memory} value={m.bytes} max={m.limit ?? 0} text={m.limit === null ? bytes(m.bytes, l) : w.of(bytes(m.bytes, l), bytes(m.limit, l))} />
          <p class="muted small">{w.least(bytes(m.minimum, l), number(m.kept_layers, l))}</p>
        </>
      )}
      {m !== null && m.refused !== null && <Notice kind="bad">{m.refused}</Notice>}
      {!v.complete && <p class="muted small">{w.estimated(number(v.encoded_lines, l), number(v.lines, l))}</p>}
    </section>
  );
}

// Found says what the file has, what is wrong with it, and shows its first lines.
export function Found(p: {preview: Shown}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const {preview: v} = p;
  const d = v.data;
  const lines: [string, string][] = [
    [w.format, `${w.formats[v.file.format] ?? v.file.format}, ${bytes(v.file.bytes, l)}`],
    [w.lines, v.file.forms.map((f) => `${number(f.lines, l)} × ${f.keys.join(" + ")}`).join(", ") || "0"],
    [w.examples, w.examplesText(number(d.examples, l), number(d.validation, l))],
    [w.tokens, w.tokensText(number(d.tokens, l), number(d.labelled, l), number(d.longest, l))],
    [w.cut, w.cutText(number(d.truncated, l), number(d.dropped, l))],
  ];
  return (
    <section class="card stack" aria-labelledby="train-found">
      <h3 id="train-found">{w.found}</h3>
      <dl class="list">
        {lines.map(([name, value]) => <div key={name}><dt>{name}</dt><dd class="number">{value}</dd></div>)}
      </dl>
      {v.faults.map((f) => (
        <div key={f.dataset} class="stack tight">
          <Notice kind="bad">{f.reason === null ? w.faults(number(f.count, l), w.datasets[f.dataset] ?? f.dataset) : `${w.datasets[f.dataset] ?? f.dataset}: ${f.reason}`}</Notice>
          {f.lines.length > 0 && (
            <Table caption={w.faultList(w.datasets[f.dataset] ?? f.dataset)} hideCaption items={f.lines} keyOf={(b) => `${b.line} ${b.reason}`} columns={[
              {title: w.line, end: true, head: true, cell: (b) => number(b.line, l)},
              {title: w.fault, cell: (b) => b.reason},
              {title: w.count, end: true, cell: (b) => number(b.count, l)},
              {title: w.firstLines, cell: (b) => b.lines.join(", ") + (b.count > b.lines.length ? " …" : "")},
            ]} />
          )}
        </div>
      ))}
      {v.examples.length > 0 && (
        <div class="stack tight">
          <p class="muted small">{w.learnedHint} <mark class="learned">{w.learnedSample}</mark></p>
          {v.examples.map((x, i) => <Example key={i} example={x} />)}
        </div>
      )}
    </section>
  );
}

function Example(p: {example: Schema<"PreviewExample">}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const x = p.example;
  return (
    <figure class="example">
      <figcaption class="small"><strong>{w.lineN(number(x.line, l))}</strong> <span class="badge">{w.parts[x.part] ?? x.part}</span> <span class="muted">{w.learnedOf(number(x.learned, l), number(x.tokens, l))}</span></figcaption>
      <div class="example-text mono" role="group" aria-label={w.exampleOf(number(x.line, l), w.parts[x.part] ?? x.part)} tabIndex={0}>
        {x.pieces.map((piece, i) => (piece.learned
          ? <mark key={i} class="learned"><span class="visually-hidden">[{w.learnedFrom} </span>{piece.text}<span class="visually-hidden"> {w.learnedTo}]</span></mark>
          : <span key={i}>{piece.text}</span>))}
        {!x.complete && <span class="muted"> …</span>}
      </div>
    </figure>
  );
}
