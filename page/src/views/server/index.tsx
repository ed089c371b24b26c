import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {api, ask} from "../../lib/api.ts";
import {compact, duration, number, percent, significant} from "../../lib/format.ts";
import {usePoll} from "../../lib/poll.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {ErrorNotice, Loading} from "../../parts/notice.tsx";
import {Plot} from "../../parts/plot.tsx";
import {Batch} from "./batch.tsx";
import {Counts, Memory, Training} from "./counts.tsx";
import {addSample, samples, type State} from "./history.ts";
import {Requests} from "./requests.tsx";
import "./server.css";
import {words} from "./words.ts";

// Server shows what the server does, again every second.
export function Server(): JSX.Element {
  const w = useWords(words);
  const language = useLanguage();
  const [paused, setPaused] = useState(false);
  const state = usePoll(async (signal) => {
    const s = await ask(api.GET("/state", {signal}));
    samples.update((list) => addSample(list, s));
    return s;
  }, paused ? 0 : 1);
  const s = state.data;
  return (
    <div class="stack">
      <div class="row spread">
        <div>
          <h1>{w.title}</h1>
          {s !== undefined && <p class="muted small">{w.about(s.model, s.version, duration(s.created_at - s.started_at, language))}</p>}
        </div>
        <Button small pressed={paused} onClick={() => setPaused(!paused)}>{paused ? w.goOn : w.pause}</Button>
      </div>
      <ErrorNotice error={state.error} onRetry={state.reload} />
      {s === undefined ? state.loading && <Loading /> : (
        <>
          <Now state={s} />
          <Batch state={s} />
          <Plots cells={s.kv_cache.cells} places={s.batch.parallel} />
          <div class="server-columns">
            <Memory state={s} />
            <Counts state={s} />
            <Training state={s} />
          </div>
          <Requests state={s} />
        </>
      )}
    </div>
  );
}

// Now is a row of the numbers that say most.
function Now(p: {state: State}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const s = p.state;
  const part = s.prefix_cache.prompt_tokens === 0 ? 0 : s.prefix_cache.cached_tokens / s.prefix_cache.prompt_tokens;
  const oldest = s.queue.oldest_wait_seconds;
  const facts: {name: string; value: string; note: string}[] = [
    {name: w.running, value: number(s.batch.running, l), note: w.ofPlaces(number(s.batch.parallel, l))},
    {name: w.waiting, value: number(s.queue.waiting, l), note: oldest === null ? w.noneWaits : w.oldest(duration(oldest, l))},
    {name: w.decode, value: significant(s.speed.decode_tokens_per_second, l), note: w.perSecond},
    {name: w.prefill, value: significant(s.speed.prefill_tokens_per_second, l), note: w.perSecond},
    {name: w.hits, value: percent(part, l), note: w.ofTokens(compact(s.prefix_cache.prompt_tokens, l))},
    {name: w.share, value: s.training === null ? "–" : percent(s.training.used_share, l), note: s.training === null ? w.noTraining : w.shareOf(percent(s.training.share, l))},
  ];
  return (
    <section aria-label={w.now}>
      <dl class="facts">
        {facts.map((f) => (
          <div key={f.name} class="card fact">
            <dt>{f.name}</dt>
            <dd><span class="value number">{f.value}</span> <span class="muted small">{f.note}</span></dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Plots(p: {cells: number; places: number}): JSX.Element {
  const w = useWords(words);
  const list = useStore(samples);
  const x = list.map((s) => s.at);
  const common = {x, xName: w.time, time: true, fromZero: true, height: 180};
  return (
    <section class="stack tight" aria-labelledby="server-plots">
      <h2 id="server-plots">{w.plots}</h2>
      <div class="plots">
        <div class="card"><Plot {...common} title={w.speedPlot} max={1} series={[
          {name: w.decode, values: list.map((s) => s.decode)}, {name: w.prefill, values: list.map((s) => s.prefill), dashed: true},
        ]} /></div>
        <div class="card"><Plot {...common} title={w.cellsPlot} max={p.cells} series={[
          {name: w.used, values: list.map((s) => s.used)}, {name: w.byRunning, values: list.map((s) => s.runningCells), dashed: true},
        ]} /></div>
        <div class="card"><Plot {...common} title={w.requestsPlot} max={p.places} series={[
          {name: w.runningLine, values: list.map((s) => s.running)}, {name: w.waitingLine, values: list.map((s) => s.waiting), dashed: true},
        ]} /></div>
      </div>
    </section>
  );
}
