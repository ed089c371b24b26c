import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {api, ask, send, type Schema} from "../../lib/api.ts";
import {errorOf, messageOf} from "../../lib/error.ts";
import {bytes, moment, number, significant} from "../../lib/format.ts";
import {usePoll} from "../../lib/poll.ts";
import {link, navigate} from "../../lib/router.ts";
import {save} from "../../lib/save.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {Confirm} from "../../parts/dialog.tsx";
import {ErrorNotice, Loading, Notice, toast} from "../../parts/notice.tsx";
import {Table} from "../../parts/table.tsx";
import {words} from "./words.ts";

type Item = Schema<"Adapter">;
type Format = "peft" | "gguf";

// mostCompared is how many columns Compare has.
const mostCompared = 8;

// OneAdapter is an adapter with its versions, newest first.
export function OneAdapter(p: {name: string}): JSX.Element {
  const w = useWords(words);
  const list = usePoll(async (signal) => (await ask(api.GET("/adapters/{name}/versions", {params: {path: {name: p.name}}, signal}))).data, 3);
  const versions = list.data ?? [];
  const current = versions.find((v) => v.current) ?? versions[0];
  const refs = versions.slice(0, mostCompared).map((v) => `${v.name}@${v.version}`);
  return (
    <div class="stack">
      <p><a href={link("adapters")}>{w.all}</a></p>
      <div class="row spread">
        <h1>{p.name}</h1>
        {current !== undefined && <Remove name={p.name} versions={versions.length} />}
      </div>
      <ErrorNotice error={list.error} onRetry={list.reload} />
      {list.loading && <Loading />}
      {current !== undefined && (
        <>
          <p class="row">
            <a href={link("chat", [], {adapter: p.name})}>{w.chat}</a>
            <a href={link("compare", [], {with: ["base", p.name].join(",")})}>{w.compareBase}</a>
            {refs.length > 1 && <a href={link("compare", [], {with: refs.join(",")})}>{w.compare}</a>}
          </p>
          {current.warnings.length > 0 && <Notice kind="warn">{current.warnings.map((text) => <p key={text}>{text}</p>)}</Notice>}
          <Versions versions={versions} onDone={list.reload} />
          <Facts adapter={current} />
        </>
      )}
    </div>
  );
}

function Versions(p: {versions: Item[]; onDone: () => void}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const [busy, setBusy] = useState(false);
  const act = async (call: () => Promise<unknown>, said?: string): Promise<void> => {
    setBusy(true);
    try {
      await call();
      if (said !== undefined) toast(said);
    } catch (e) {
      toast(messageOf(e), "bad");
    }
    setBusy(false);
    p.onDone();
  };
  const pin = (v: Item): void => {
    const params = {path: {name: v.name}};
    if (v.pinned) void act(() => ask(api.DELETE("/adapters/{name}/pin", {params: {...params, query: {version: v.version}}})), w.isUnpinned(v.version));
    else void act(() => ask(api.POST("/adapters/{name}/pin", {params, body: {version: v.version}})), w.isPinned(v.version));
  };
  const rollBack = (v: Item): void =>
    void act(() => ask(api.POST("/adapters/{name}/rollback", {params: {path: {name: v.name}}, body: {version: v.version}})), w.rolledBack(v.version));
  return (
    <section class="stack tight" aria-labelledby="adapter-versions">
      <h2 id="adapter-versions">{w.versions}</h2>
      <Table caption={w.versionList} hideCaption items={p.versions} keyOf={(v) => v.digest} columns={[
        {title: w.version, head: true, cell: (v) => <span class="mono">{v.version}</span>},
        {title: w.answers, cell: (v) => (v.current ? <span class="badge good">{w.yes}</span> : w.no)},
        {title: w.pinned, cell: (v) => (v.pinned ? w.yes : w.no)},
        {title: w.created, cell: (v) => moment(v.created_at, l)},
        {title: w.source, cell: (v) => w.sources[v.origin] ?? v.origin},
        {title: w.rank, end: true, cell: (v) => number(v.rank, l)},
        {title: w.size, end: true, cell: (v) => bytes(v.bytes, l)},
        {title: w.requests, end: true, cell: (v) => number(v.requests, l)},
        {title: w.actions, cell: (v) => (
          <div class="version-actions">
            {!v.current && <Button small disabled={busy} label={w.rollBackTo(v.version)} onClick={() => rollBack(v)}>{w.rollBack}</Button>}
            <Button small disabled={busy} label={v.pinned ? w.unpinVersion(v.version) : w.pinVersion(v.version)} onClick={() => pin(v)}>{v.pinned ? w.unpin : w.pin}</Button>
            {(["peft", "gguf"] as const).map((format) => (
              <Button key={format} small disabled={busy} label={w.downloadAs(v.version, format.toUpperCase())} onClick={() => void act(() => download(v, format))}>{`${w.download} ${format.toUpperCase()}`}</Button>
            ))}
            <a class="button small" href={link("chat", [], {adapter: `${v.name}@${v.version}`})} aria-label={w.chatWith(`${v.name}@${v.version}`)}>{w.chat}</a>
          </div>
        )},
      ]} />
    </section>
  );
}

// download saves a version under the name that the server proposes, and says what the format cannot hold as it was.
async function download(v: Item, format: Format): Promise<void> {
  const response = await send(new Request(new URL(`/adapters/${encodeURIComponent(`${v.name}@${v.version}`)}/download?format=${format}`, location.origin)));
  if (!response.ok) throw await errorOf(response);
  const proposed = /filename="?([^";]+)/.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
  save(proposed ?? `${v.name}-${v.version}.${format === "peft" ? "zip" : "gguf"}`, response.headers.get("Content-Type") ?? "", await response.blob());
  const warning = response.headers.get("Warning");
  if (warning !== null) toast(/"(.*)"/.exec(warning)?.[1] ?? warning, "warn");
}

function Facts(p: {adapter: Item}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const a = p.adapter;
  const kinds = ["LoRA", a.use_rslora ? "rsLoRA" : "", a.use_dora ? "DoRA" : "", a.alora_invocation_tokens === undefined ? "" : "aLoRA"].filter((k) => k !== "");
  const facts: [string, string][] = [
    [w.version, a.version], [w.digest, a.digest], [w.kind, kinds.join(", ")], [w.rank, number(a.rank, l)], [w.alpha, significant(a.alpha, l)], [w.targets, a.targets.join(", ")],
    [w.parameters, w.parametersText(number(a.parameters, l), number(a.modules, l))], [w.size, bytes(a.bytes, l)],
    [w.memory, a.loaded ? w.resident(bytes(a.memory_bytes, l)) : w.notResident], [`${w.leases} (${w.leasesHint})`, number(a.leases, l)], [w.requests, number(a.requests, l)],
    [w.source, w.sources[a.origin] ?? a.origin],
  ];
  if (a.merge !== undefined) facts.push([w.made, w.madeText(a.merge.method, a.merge.from.map((x) => `${significant(x.weight, l)} × ${x.name}@${x.version}`).join(" + "))]);
  return (
    <section class="card stack tight" aria-labelledby="adapter-facts">
      <h2 id="adapter-facts">{w.facts}</h2>
      <dl class="list">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
      {a.origin === "job" && <ReportLink name={`${a.name}@${a.version}`} />}
    </section>
  );
}

// ReportLink leads to the job that made a version, as long as there is one: its page has the report.
function ReportLink(p: {name: string}): JSX.Element | null {
  const w = useWords(words);
  const report = usePoll(async (signal) => (await ask(api.GET("/adapters/{name}/report", {params: {path: {name: p.name}}, signal}))) as Schema<"TrainingReport">, 0, p.name);
  return report.data === undefined ? null : <p><a href={link("train", [report.data.job])}>{w.report}</a></p>;
}

function Remove(p: {name: string; versions: number}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const [sure, setSure] = useState(false);
  const remove = async (): Promise<void> => {
    setSure(false);
    try {
      await ask(api.DELETE("/adapters/{name}", {params: {path: {name: p.name}}}));
      toast(w.removed(p.name));
      navigate("adapters");
    } catch (e) {
      toast(messageOf(e), "bad");
    }
  };
  return (
    <>
      <Button kind="danger" onClick={() => setSure(true)}>{w.remove}</Button>
      <Confirm title={w.remove} text={w.removeText(p.name, number(p.versions, l))} action={w.remove} open={sure} onClose={() => setSure(false)} onConfirm={() => void remove()} />
    </>
  );
}
