import type {JSX} from "preact";
import {useEffect, useRef, useState} from "preact/hooks";
import {send, type Schema} from "../../lib/api.ts";
import {useModels} from "../../lib/adapters.ts";
import {ApiError, errorOf, isAbort} from "../../lib/error.ts";
import {bytes} from "../../lib/format.ts";
import {navigate} from "../../lib/router.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {AdapterBox} from "../../parts/adapterbox.tsx";
import {Button} from "../../parts/button.tsx";
import {Checkbox, NumberField, Select, TextArea, TextField} from "../../parts/field.tsx";
import {FileDrop} from "../../parts/filedrop.tsx";
import {ErrorNotice, toast} from "../../parts/notice.tsx";
import {draft, emptyDraft, fields, formOf, methods, nameOf, type Draft, type Field, type Value} from "./fields.ts";
import {Cost, Found} from "./preview.tsx";
import {words} from "./words.ts";

const accepted = ".jsonl,.json,.ndjson,.csv,.tsv,.txt,.md,.parquet";

async function post<T>(path: string, d: Draft, signal?: AbortSignal): Promise<T> {
  const response = await send(new Request(new URL(path, location.origin), {method: "POST", body: formOf(d), ...(signal === undefined ? {} : {signal})}));
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}

// usePreview asks for the preview a moment after the last change.
function usePreview(d: Draft): {preview: Schema<"TrainingPreview"> | undefined; error: unknown; busy: boolean} {
  const [state, setState] = useState<{preview: Schema<"TrainingPreview"> | undefined; error: unknown; busy: boolean}>({preview: undefined, error: undefined, busy: false});
  const {name: _, ...rest} = d; // which changes nothing of it
  const key = JSON.stringify(rest);
  const file = useRef<File | null>(null);
  useEffect(() => {
    if (d.file !== file.current) setState({preview: undefined, error: undefined, busy: d.file !== null});
    file.current = d.file;
    if (d.file === null) return;
    const stop = new AbortController();
    setState((s) => ({...s, busy: true}));
    const timer = setTimeout(async () => {
      try {
        const preview = await post<Schema<"TrainingPreview">>("/adapters/train/preview", {...d, name: ""}, stop.signal);
        if (!stop.signal.aborted) setState({preview, error: undefined, busy: false});
      } catch (error) {
        if (!isAbort(error) && !stop.signal.aborted) setState((s) => ({...s, error, busy: false}));
      }
    }, 400);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, d.file, d.validation]);
  return state;
}

// NewJob takes a file, shows what would be learned of it and what that costs, and starts the job.
export function NewJob(): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const d = useStore(draft);
  const models = useModels().data ?? [];
  const [refused, setRefused] = useState<unknown>(undefined);
  const [starting, setStarting] = useState(false);
  const {preview, error, busy} = usePreview(d);
  const set = (change: Partial<Draft>): void => draft.update((old) => ({...old, ...change}));
  const shown = refused ?? error;
  const faultOf = (name: string): string | undefined => (shown instanceof ApiError && shown.param === name ? shown.message : undefined);

  const start = async (): Promise<void> => {
    setStarting(true);
    setRefused(undefined);
    try {
      const job = await post<Schema<"TrainingJob">>("/adapters/train", d);
      draft.set(emptyDraft);
      toast(w.started(job.name));
      navigate("train", [job.id]);
    } catch (e) {
      setRefused(e);
    }
    setStarting(false);
  };
  const config = preview?.config as Record<string, unknown> | undefined;
  return (
    <section class="stack" aria-labelledby="train-new">
      <h2 id="train-new">{w.newJob}</h2>
      <FileDrop label={w.drop} accept={accepted} onFiles={([f]) => {
        if (f === undefined) return;
        setRefused(undefined);
        const proposed = d.file === null ? "" : nameOf(d.file.name);
        set({file: f.file, ...(d.name === "" || d.name === proposed ? {name: nameOf(f.file.name)} : {})});
      }} />
      {d.file !== null && (
        <>
          <div class="row">
            <strong>{d.file.name}</strong> <span class="muted">{bytes(d.file.size, l)}</span>
            <Button small onClick={() => draft.set(emptyDraft)}>{w.discard}</Button>
            {busy && <span class="muted" role="status">{w.reading}</span>}
          </div>
          <div class="train-columns">
            <form class="card stack" aria-label={w.settings} onSubmit={(e) => {
              e.preventDefault();
              void start();
            }}>
              <TextField label={w.name} value={d.name} hint={w.nameHint} fault={faultOf("name")} required onInput={(name) => set({name})} />
              <Select label={w.method} value={d.method} fault={faultOf("method")} options={methods.map((m) => ({value: m, text: w.methods[m] ?? m}))} onChange={(method) => set({method})} />
              {d.method === "reinforcement" && <TextArea code label={w.reward} hint={w.rewardHint} rows={6} value={d.reward} onInput={(reward) => set({reward})} />}
              <Settings list={fields.filter((f) => f.main)} draft={d} config={config} faultOf={faultOf} />
              <details class="more" open={fields.some((f) => !f.main && faultOf(f.name) !== undefined)}>
                <summary>{w.more}</summary>
                <div class="stack">
                  <AdapterBox label={w.from} hint={w.fromHint} value={d.from} models={models} onChange={(from) => set({from})} />
                  <Settings list={fields.filter((f) => !f.main)} draft={d} config={config} faultOf={faultOf} />
                  <FileDrop label={d.validation === null ? w.dropValidation : d.validation.name} accept={accepted} onFiles={([f]) => set({validation: f?.file ?? null})} />
                  {d.validation !== null && <div><Button small onClick={() => set({validation: null})}>{w.noValidation}</Button></div>}
                </div>
              </details>
              <ErrorNotice error={shown} />
              <div><Button submit kind="primary" disabled={starting || d.name.trim() === ""}>{w.start}</Button></div>
            </form>
            <div class="stack">
              {preview !== undefined && <Cost preview={preview} />}
              {preview !== undefined && <Found preview={preview} />}
            </div>
          </div>
        </>
      )}
    </section>
  );
}

// Settings are fields of the job; what is not set shows the server's default.
function Settings(p: {list: Field[]; draft: Draft; config: Record<string, unknown> | undefined; faultOf: (name: string) => string | undefined}): JSX.Element {
  const w = useWords(words);
  const set = (name: string, value: Value): void => draft.update((d) => ({...d, values: {...d.values, [name]: value}}));
  const plain = p.list.filter((f) => f.kind !== "flag");
  return (
    <>
      <div class="pairs">
        {plain.map((f) => {
          const standard = p.config?.[f.name];
          const placeholder = Array.isArray(standard) ? standard.join(", ") : standard === undefined || standard === null ? "" : String(standard);
          const common = {label: w.fields[f.name] ?? f.name, fault: p.faultOf(f.name)};
          const value = p.draft.values[f.name] ?? null;
          if (f.kind === "choice") {
            return <Select key={f.name} {...common} value={String(value ?? "")} options={[{value: "", text: placeholder || "–"}, ...(f.choices ?? []).map((c) => ({value: c, text: c}))]} onChange={(v) => set(f.name, v)} />;
          }
          if (f.kind === "names") return <TextField key={f.name} {...common} value={String(value ?? "")} placeholder={placeholder} onInput={(v) => set(f.name, v)} />;
          return (
            <NumberField
              key={f.name} {...common} value={typeof value === "number" ? value : null} placeholder={placeholder} onInput={(v) => set(f.name, v)}
              {...(f.min === undefined ? {} : {min: f.min})} {...(f.max === undefined ? {} : {max: f.max})}
            />
          );
        })}
      </div>
      {p.list.filter((f) => f.kind === "flag").map((f) => (
        <Checkbox key={f.name} label={w.fields[f.name] ?? f.name} checked={p.draft.values[f.name] === true} onChange={(v) => set(f.name, v)} />
      ))}
    </>
  );
}
