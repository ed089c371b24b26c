import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {api, ask, type Schema} from "../../lib/api.ts";
import {duration, moment, number, significant} from "../../lib/format.ts";
import {usePoll} from "../../lib/poll.ts";
import {link, navigate} from "../../lib/router.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {Confirm} from "../../parts/dialog.tsx";
import {ErrorNotice, Loading, Notice, toast} from "../../parts/notice.tsx";
import {Plot} from "../../parts/plot.tsx";
import {Progress} from "../../parts/progress.tsx";
import {Table} from "../../parts/table.tsx";
import {curveOf, type Event, type Point} from "./curve.ts";
import {useEvents} from "./events.ts";
import {ended, Status, useLeft} from "./jobs.tsx";
import {Report} from "./report.tsx";
import {words} from "./words.ts";

type Item = Schema<"TrainingJob">;

// Job is one job, as it goes on.
export function Job(p: {id: string}): JSX.Element {
  const w = useWords(words);
  const [seconds, setSeconds] = useState(2);
  const job = usePoll(async (signal) => {
    const j = await ask(api.GET("/adapters/train/{id}", {params: {path: {id: p.id}}, signal}));
    setSeconds(ended(j.status) ? 15 : 2);
    return j;
  }, seconds);
  const [round, setRound] = useState(0); // of a job that was resumed, whose events go on
  const seen = useEvents([p.id], round)[p.id]?.events ?? [];
  const points = curveOf(seen);
  const j = job.data;
  return (
    <div class="stack">
      <p><a href={link("train")}>{w.allJobs}</a></p>
      <ErrorNotice error={job.error} onRetry={job.reload} />
      {j === undefined ? <><h1>{w.title}</h1>{job.loading && <Loading />}</> : (
        <>
          <div class="row spread">
            <div class="row"><h1>{j.name}</h1> <Status status={j.status} /></div>
            <Actions job={j} onDone={() => {
              setRound(round + 1);
              job.reload();
            }} />
          </div>
          <Live job={j} valid={points.findLast((x) => x.valid !== null)?.valid ?? j.progress.eval_loss} />
          {j.error !== null && <Fault error={j.error} />}
          {j.paused !== null && <Notice kind="warn">{j.paused}</Notice>}
          <Curves points={points} />
          <Checkpoints job={j} />
          {j.result !== null && <Report name={`${j.result.name}@${j.result.version}`} />}
          <Messages events={seen} />
          <details class="more card">
            <summary>{w.settings}</summary>
            <dl class="list">
              {Object.entries(j.config as Record<string, unknown>).map(([name, value]) => (
                <div key={name}><dt class="mono">{name}</dt><dd class="mono">{JSON.stringify(value)}</dd></div>
              ))}
            </dl>
          </details>
        </>
      )}
    </div>
  );
}

function Actions(p: {job: Item; onDone: () => void}): JSX.Element {
  const w = useWords(words);
  const {id, status} = p.job;
  const [busy, setBusy] = useState(false);
  const [sure, setSure] = useState<"cancel" | "delete" | null>(null);
  const act = async (call: () => Promise<unknown>, said: string): Promise<void> => {
    setBusy(true);
    setSure(null);
    try {
      await call();
      toast(said);
    } catch (e) {
      toast(e instanceof Error ? e.message : String(e), "bad");
    }
    setBusy(false);
    p.onDone();
  };
  const path = {params: {path: {id}}};
  const live = status === "running" || status === "queued" || status === "validating_files";
  return (
    <div class="row">
      {live && <Button disabled={busy} onClick={() => void act(() => ask(api.POST("/adapters/train/{id}/pause", path)), w.isPaused)}>{w.pause}</Button>}
      {(status === "paused" || status === "failed" || status === "cancelled") && (
        <Button kind="primary" disabled={busy} onClick={() => void act(() => ask(api.POST("/adapters/train/{id}/resume", path)), w.isResumed)}>{w.resume}</Button>
      )}
      {(live || status === "paused") && <Button kind="danger" disabled={busy} onClick={() => setSure("cancel")}>{w.cancel}</Button>}
      {ended(status) && <Button kind="danger" disabled={busy} onClick={() => setSure("delete")}>{w.remove}</Button>}
      <Confirm title={w.cancel} text={w.cancelText} action={w.cancel} open={sure === "cancel"} onClose={() => setSure(null)}
        onConfirm={() => void act(() => ask(api.POST("/adapters/train/{id}/cancel", path)), w.isCancelled)} />
      <Confirm title={w.remove} text={w.removeText} action={w.remove} open={sure === "delete"} onClose={() => setSure(null)}
        onConfirm={() => void act(async () => {
          await ask(api.DELETE("/adapters/train/{id}", path));
          navigate("train");
        }, w.isRemoved)} />
    </div>
  );
}

function Live(p: {job: Item; valid: number | null}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const left = useLeft();
  const {progress: g, data: d} = p.job;
  const facts: [string, string][] = [
    [w.loss, g.step > 0 ? significant(g.loss, l) : "–"],
    [w.validLoss, p.valid === null ? "–" : significant(p.valid, l)],
    [w.speed, g.tokens_per_second > 0 ? significant(g.tokens_per_second, l) : "–"],
    [w.left, left(p.job)],
    [w.took, duration(g.seconds, l)],
    [w.examples, number(d.examples, l)],
  ];
  return (
    <section class="stack tight" aria-label={w.progress}>
      <Progress label={w.step} value={g.step} max={g.steps} text={w.progressText(number(g.step, l), number(g.steps, l), number(g.epoch, l, 2))} />
      <dl class="facts">
        {facts.map(([name, value]) => <div key={name} class="card fact"><dt>{name}</dt><dd class="value number">{value}</dd></div>)}
      </dl>
    </section>
  );
}

function Fault(p: {error: NonNullable<Item["error"]>}): JSX.Element {
  return (
    <Notice kind="bad">
      <div>{p.error.message}</div>
      <div class="where">{[p.error.code, p.error.param].filter(Boolean).join(" · ")}</div>
    </Notice>
  );
}

function Curves(p: {points: Point[]}): JSX.Element | null {
  const w = useWords(words);
  if (p.points.length === 0) return null;
  const x = p.points.map((s) => s.step);
  const valid = p.points.some((s) => s.valid !== null);
  return (
    <section class="plots" aria-label={w.curves}>
      <div class="card"><Plot title={w.lossPlot} x={x} xName={w.step} series={[
        {name: w.loss, values: p.points.map((s) => s.loss)}, ...(valid ? [{name: w.validLoss, values: p.points.map((s) => s.valid), dashed: true}] : []),
      ]} /></div>
      <div class="card"><Plot title={w.ratePlot} x={x} xName={w.step} fromZero series={[{name: w.rate, values: p.points.map((s) => s.rate)}]} /></div>
      <div class="card"><Plot title={w.speedPlot} x={x} xName={w.step} fromZero series={[{name: w.speed, values: p.points.map((s) => s.speed)}]} /></div>
    </section>
  );
}

function Checkpoints(p: {job: Item}): JSX.Element | null {
  const w = useWords(words);
  const l = useLanguage();
  const {result, checkpoints} = p.job;
  if (checkpoints.length === 0 && result === null) return null;
  const chat = (adapter: string): JSX.Element => <a href={link("chat", [], {adapter})} aria-label={w.chatWith(adapter)}>{w.chat}</a>;
  return (
    <section class="stack tight" aria-labelledby="train-checkpoints">
      <h2 id="train-checkpoints">{w.checkpoints}</h2>
      {result !== null && <p>{w.made} <strong class="mono">{`${result.name}@${result.version}`}</strong> {chat(`${result.name}@${result.version}`)}</p>}
      {checkpoints.length > 0 && (
        <Table caption={w.checkpointList} hideCaption items={checkpoints} keyOf={(c) => c.id} columns={[
          {title: w.adapter, head: true, cell: (c) => <span class="mono">{c.adapter}</span>},
          {title: w.step, end: true, cell: (c) => number(c.step, l)},
          {title: w.loss, end: true, cell: (c) => significant(c.loss, l)},
          {title: w.validLoss, end: true, cell: (c) => (c.eval_loss === null ? "–" : significant(c.eval_loss, l))},
          {title: w.created, cell: (c) => moment(c.created_at, l)},
          {title: w.chat, cell: (c) => chat(c.adapter)},
        ]} />
      )}
    </section>
  );
}

function Messages(p: {events: Event[]}): JSX.Element | null {
  const w = useWords(words);
  const l = useLanguage();
  const list = p.events.filter((e) => e.type === "message");
  if (list.length === 0) return null;
  return (
    <section class="stack tight" aria-labelledby="train-messages">
      <h2 id="train-messages">{w.messages}</h2>
      <ol class="messages card" aria-labelledby="train-messages" tabIndex={0}>
        {list.map((e) => (
          <li key={e.seq} class={e.level}>
            <time class="muted small">{moment(e.created_at, l)}</time> {e.level !== "info" && <span class={"badge " + (e.level === "error" ? "bad" : "warn")}>{e.level}</span>} {e.message}
          </li>
        ))}
      </ol>
    </section>
  );
}
