import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {api, ask, type Schema} from "../../lib/api.ts";
import {duration, moment, number, significant} from "../../lib/format.ts";
import {usePoll} from "../../lib/poll.ts";
import {link} from "../../lib/router.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {ErrorNotice, Loading} from "../../parts/notice.tsx";
import {Plot} from "../../parts/plot.tsx";
import {Progress} from "../../parts/progress.tsx";
import {Table} from "../../parts/table.tsx";
import {align, curveOf} from "./curve.ts";
import {useEvents} from "./events.ts";
import {words} from "./words.ts";

type Item = Schema<"TrainingJob">;

// mostPlotted is how many jobs one plot has: there are as many colours, and each job that runs holds a connection.
const mostPlotted = 4;

export const ended = (status: string): boolean => status === "succeeded" || status === "failed" || status === "cancelled";

export function Status(p: {status: string}): JSX.Element {
  const w = useWords(words);
  const kind = {succeeded: "good", running: "good", failed: "bad", paused: "warn", cancelled: "warn"}[p.status] ?? "";
  return <span class={"badge " + kind}>{w.statuses[p.status] ?? p.status}</span>;
}

// left is how long a job still takes, in words.
export function useLeft(): (job: Item) => string {
  const l = useLanguage();
  return (j) => (j.progress.eta === null ? "–" : duration(Math.max(0, j.progress.eta - Date.now() / 1000), l));
}

// Jobs lists the jobs, and draws those that are chosen into one plot: at first those that run or ran last.
export function Jobs(): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const left = useLeft();
  const [chosen, setChosen] = useState<string[] | null>(null);
  const jobs = usePoll(async (signal) => (await ask(api.GET("/adapters/train", {params: {query: {limit: 50}}, signal}))).data, 3);
  const list = jobs.data ?? [];
  const plotted = chosen ?? list.filter((j) => j.progress.step > 0).slice(0, mostPlotted).map((j) => j.id);
  const events = useEvents(plotted);
  const lines = list.filter((j) => plotted.includes(j.id)).map((j) => ({
    name: list.filter((x) => x.name === j.name).length > 1 ? `${j.name} (${j.id.slice(-4)})` : j.name,
    points: curveOf(events[j.id]?.events ?? []).filter((p) => p.loss !== null).map((p) => ({step: p.step, value: p.loss})),
  }));
  const {x, series} = align(lines);
  return (
    <section class="stack" aria-labelledby="train-jobs">
      <h2 id="train-jobs">{w.jobs}</h2>
      <ErrorNotice error={jobs.error} onRetry={jobs.reload} />
      {jobs.loading && <Loading />}
      {!jobs.loading && list.length === 0 && <p class="empty">{w.noJobs}</p>}
      {x.length > 0 && <div class="card"><Plot title={w.lossPlot} x={x} xName={w.step} series={series} /></div>}
      {list.length > 0 && (
        <Table caption={w.jobList} hideCaption items={list} keyOf={(j) => j.id} columns={[
          {title: w.adapter, head: true, cell: (j) => <a href={link("train", [j.id])}>{j.name}</a>},
          {title: w.status, cell: (j) => <Status status={j.status} />},
          {title: w.progress, cell: (j) => <div class="job-progress"><Progress label={j.name} value={j.progress.step} max={j.progress.steps} text={w.of(number(j.progress.step, l), number(j.progress.steps, l))} /></div>},
          {title: w.loss, end: true, cell: (j) => (j.progress.step > 0 ? significant(j.progress.loss, l) : "–")},
          {title: w.speed, end: true, cell: (j) => (j.progress.tokens_per_second > 0 ? significant(j.progress.tokens_per_second, l) : "–")},
          {title: w.left, end: true, cell: left},
          {title: w.created, cell: (j) => moment(j.created_at, l)},
          {title: w.inPlot, cell: (j) => {
            const on = plotted.includes(j.id);
            return <input
              type="checkbox" aria-label={w.plotJob(j.name)} checked={on} disabled={!on && plotted.length >= mostPlotted}
              onChange={() => setChosen(on ? plotted.filter((id) => id !== j.id) : [...plotted, j.id])}
            />;
          }},
        ]} />
      )}
    </section>
  );
}
