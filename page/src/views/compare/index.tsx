import type {JSX} from "preact";
import {useEffect, useRef} from "preact/hooks";
import {useModels} from "../../lib/adapters.ts";
import {useRoute} from "../../lib/router.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {TextArea} from "../../parts/field.tsx";
import {icons} from "../../parts/icons.tsx";
import {announce, ErrorNotice} from "../../parts/notice.tsx";
import {SamplingFields} from "../../parts/sampling.tsx";
import {Tabs} from "../../parts/tabs.tsx";
import {Columns} from "./columns.tsx";
import "./compare.css";
import {ManyResult, OneResult} from "./results.tsx";
import {maxPrompts, promptList, results, run, setColumns, setup, stopRun} from "./state.ts";
import {words} from "./words.ts";

// Compare sends prompts to several adapters at once. The address may name them: #/compare?with=base,terse,terse@1a2b.
export function Compare(): JSX.Element {
  const w = useWords(words);
  const models = useModels();
  const s = useStore(setup);
  const route = useRoute();
  const list = models.data ?? [];
  const base = list.find((m) => m.parent === null)?.id ?? "";
  const asked = route.query.get("with");

  useEffect(() => {
    if (base === "") return;
    if (asked !== null) setColumns(asked.split(",").map((name) => (name === base || name === "base" ? "" : name)));
    else if (s.columns.length === 0) setColumns(["", ...list.filter((m) => m.parent !== null).slice(0, 3).map((m) => m.id)]);
  }, [base, asked]);

  const result = useStore(results[s.mode]);
  const prompts = promptList(s.prompts);
  const fault = prompts.length > maxPrompts ? w.tooMany(prompts.length) : undefined;
  const ready = base !== "" && s.columns.length > 0 && (s.mode === "one" ? s.prompt.trim() !== "" : prompts.length > 0 && fault === undefined);
  const start = (): void => {
    if (ready && !result.busy) void run(base, s.mode);
  };
  const wasBusy = useRef(false);
  useEffect(() => {
    if (wasBusy.current && !result.busy) announce(w.done(result.lines.flatMap((l) => l.cells).filter((c) => c.state === "done").length));
    wasBusy.current = result.busy;
  }, [result.busy]);
  const onKeyDown = (e: KeyboardEvent): void => {
    if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
    e.preventDefault();
    start();
  };

  return (
    <div class="stack">
      <h1>{w.title}</h1>
      <ErrorNotice error={models.error} onRetry={models.reload} />
      <Columns models={list} />
      <Tabs label={w.modes} tabs={[{id: "one", text: w.one}, {id: "many", text: w.many}]} chosen={s.mode} onChoose={(mode) => setup.update((o) => ({...o, mode}))}>
        <form
          class="stack" noValidate // the server says what it refuses; a field of closed settings could not
          onSubmit={(e) => {
            e.preventDefault();
            start();
          }}
        >
          {s.mode === "one"
            ? <TextArea label={w.prompt} value={s.prompt} rows={3} onInput={(prompt) => setup.update((o) => ({...o, prompt}))} onKeyDown={onKeyDown} />
            : <TextArea label={w.prompts} hint={w.promptsHint} fault={fault} value={s.prompts} rows={6} onInput={(p) => setup.update((o) => ({...o, prompts: p}))} />}
          <details class="more">
            <summary>{w.settings}</summary>
            <div class="grid">
              <TextArea label={w.system} value={s.system} rows={3} onInput={(system) => setup.update((o) => ({...o, system}))} />
              <SamplingFields sampling={s.sampling} onChange={(sampling) => setup.update((o) => ({...o, sampling}))} />
            </div>
          </details>
          <div class="row">
            {result.busy
              ? <Button icon={icons.stop()} onClick={() => stopRun(s.mode)}>{w.stop}</Button>
              : <Button kind="primary" submit icon={icons.send()} disabled={!ready}>{w.run}</Button>}
          </div>
        </form>
        {s.mode === "one" ? <OneResult result={result} /> : <ManyResult result={result} />}
      </Tabs>
    </div>
  );
}
