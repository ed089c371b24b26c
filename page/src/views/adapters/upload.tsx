import type {ComponentChildren, JSX} from "preact";
import {useState} from "preact/hooks";
import {api, ask, send, type Schema} from "../../lib/api.ts";
import {ApiError, errorOf} from "../../lib/error.ts";
import {bytes} from "../../lib/format.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {TextField} from "../../parts/field.tsx";
import {FileDrop, type Dropped} from "../../parts/filedrop.tsx";
import {ErrorNotice, toast} from "../../parts/notice.tsx";
import {chooseFiles, nameOf} from "./add.ts";
import {words} from "./words.ts";

export interface FormProps {
  onDone: () => void; // after an adapter was added
}

interface Adding {
  busy: boolean;
  refused: unknown;
  faultOf: (param: string) => string | undefined;
  run: (call: () => Promise<Schema<"Adapter">>) => Promise<boolean>;
  forget: () => void; // what was refused is about to be changed
}

// useAdding sends what adds an adapter, and keeps why the server refused it.
export function useAdding(onDone: () => void): Adding {
  const w = useWords(words);
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<unknown>(undefined);
  const run = async (call: () => Promise<Schema<"Adapter">>): Promise<boolean> => {
    setBusy(true);
    setRefused(undefined);
    try {
      const a = await call();
      toast(w.added(a.name, a.version));
      onDone();
      return true;
    } catch (error) {
      setRefused(error);
      return false;
    } finally {
      setBusy(false);
    }
  };
  const faultOf = (param: string): string | undefined => (refused instanceof ApiError && refused.param === param ? refused.message : undefined);
  return {busy, refused, faultOf, run, forget: () => setRefused(undefined)};
}

// AddForm is a form that adds an adapter: its fields, what the server refuses, and the button.
export function AddForm(p: {label: string; action: string; adding: Adding; ready: boolean; onSend: () => void; children: ComponentChildren}): JSX.Element {
  const w = useWords(words);
  return (
    <form class="card stack add-form" noValidate aria-label={p.label} onSubmit={(e) => {
      e.preventDefault();
      if (p.ready && !p.adding.busy) p.onSend();
    }}>
      {p.children}
      <ErrorNotice error={p.adding.refused} />
      <div class="row">
        <Button submit kind="primary" disabled={!p.ready || p.adding.busy}>{p.action}</Button>
        {p.adding.busy && <span class="muted" role="status">{w.sending}</span>}
      </div>
    </form>
  );
}

// UploadForm takes files of an adapter that are dropped or chosen.
export function UploadForm(p: FormProps): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const [files, setFiles] = useState<Dropped[]>([]);
  const [name, setName] = useState("");
  const adding = useAdding(p.onDone);
  const clear = (): void => {
    setFiles([]);
    setName("");
  };
  const upload = async (): Promise<Schema<"Adapter">> => {
    const form = new FormData();
    form.append("name", name.trim());
    for (const f of files) form.append("file", f.file, f.file.name);
    const response = await send(new Request(new URL("/adapters", location.origin), {method: "POST", body: form}));
    if (!response.ok) throw await errorOf(response);
    return (await response.json()) as Schema<"Adapter">;
  };
  return (
    <div class="stack">
      <FileDrop label={w.drop} multiple folder disabled={adding.busy} onFiles={(list) => {
        const chosen = chooseFiles(list);
        adding.forget();
        setName((old) => (old === "" || old === nameOf(files) ? nameOf(chosen) : old));
        setFiles(chosen);
      }} />
      {files.length > 0 && (
        <AddForm label={w.upload} action={w.send} adding={adding} ready={name.trim() !== ""} onSend={() => void adding.run(upload).then((done) => done && clear())}>
          <ul class="upload-files" aria-label={w.chosen}>
            {files.map((f) => <li key={f.path}><span class="mono">{f.path}</span> <span class="muted">{bytes(f.file.size, l)}</span></li>)}
          </ul>
          <div><Button small disabled={adding.busy} onClick={() => {
            clear();
            adding.forget();
          }}>{w.discard}</Button></div>
          <TextField label={w.newName} hint={w.newNameHint} value={name} fault={adding.faultOf("name")} onInput={setName} />
        </AddForm>
      )}
    </div>
  );
}

// FetchForm has the server bring an adapter from a hub or a bucket.
export function FetchForm(p: FormProps): JSX.Element {
  const w = useWords(words);
  const [source, setSource] = useState("");
  const [name, setName] = useState("");
  const adding = useAdding(p.onDone);
  const bring = (): void => {
    void adding.run(() => ask(api.POST("/adapters", {body: {name: name.trim(), source: source.trim()}}))).then((done) => {
      if (!done) return;
      setSource("");
      setName("");
    });
  };
  return (
    <AddForm label={w.fetch} action={w.bring} adding={adding} ready={source.trim() !== "" && name.trim() !== ""} onSend={bring}>
      <TextField label={w.address} hint={w.addressHint} value={source} placeholder="hf://" fault={adding.faultOf("source")} onInput={setSource} />
      <TextField label={w.newName} hint={w.newNameHint} value={name} fault={adding.faultOf("name")} onInput={setName} />
    </AddForm>
  );
}
