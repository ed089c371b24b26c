import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {api, ask, type Schema} from "../../lib/api.ts";
import {bytes, number, significant} from "../../lib/format.ts";
import {usePoll} from "../../lib/poll.ts";
import {link, useRoute} from "../../lib/router.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {AdapterMark} from "../../parts/mark.tsx";
import {ErrorNotice, Loading} from "../../parts/notice.tsx";
import {Table} from "../../parts/table.tsx";
import {Tabs} from "../../parts/tabs.tsx";
import "./adapters.css";
import {MergeForm} from "./merge.tsx";
import {OneAdapter} from "./one.tsx";
import {FetchForm, UploadForm} from "./upload.tsx";
import {words} from "./words.ts";

// Adapters lists what is registered and adds to it; #/adapters/NAME is one adapter with its versions.
export function Adapters(): JSX.Element {
  const name = useRoute().parts[0];
  return name === undefined ? <AllAdapters /> : <OneAdapter key={name} name={name} />;
}

type Way = "upload" | "fetch" | "merge";

function AllAdapters(): JSX.Element {
  const w = useWords(words);
  const [way, setWay] = useState<Way>("upload");
  const list = usePoll(async (signal) => (await ask(api.GET("/adapters", {signal}))).data, 3);
  const adapters = list.data ?? [];
  return (
    <div class="stack">
      <h1>{w.title}</h1>
      <ErrorNotice error={list.error} onRetry={list.reload} />
      {list.loading && <Loading />}
      {list.data?.length === 0 && <p class="empty">{w.none}</p>}
      {adapters.length > 0 && <List adapters={adapters} />}
      <section class="stack tight" aria-labelledby="adapters-add">
        <h2 id="adapters-add">{w.add}</h2>
        <Tabs label={w.ways} tabs={[{id: "upload", text: w.upload}, {id: "fetch", text: w.fetch}, {id: "merge", text: w.merge}]} chosen={way} onChoose={setWay}>
          {way === "upload" && <UploadForm onDone={list.reload} />}
          {way === "fetch" && <FetchForm onDone={list.reload} />}
          {way === "merge" && <MergeForm onDone={list.reload} />}
        </Tabs>
      </section>
    </div>
  );
}

function List(p: {adapters: Schema<"Adapter">[]}): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  return (
    <Table caption={w.list} hideCaption items={p.adapters} keyOf={(a) => a.name} columns={[
      {title: w.name, head: true, cell: (a) => <span class="adapter-name"><AdapterMark name={a.name} /> <a href={link("adapters", [a.name])}>{a.name}</a></span>},
      {title: w.answers, cell: (a) => <span class="mono">{a.version}</span>},
      {title: w.pinned, cell: (a) => (a.pinned ? w.yes : w.no)},
      {title: w.rank, end: true, cell: (a) => number(a.rank, l)},
      {title: w.alpha, end: true, cell: (a) => significant(a.alpha, l)},
      {title: w.targets, cell: (a) => <span class="targets small">{a.targets.join(", ")}</span>},
      {title: w.size, end: true, cell: (a) => bytes(a.bytes, l)},
      {title: w.memory, cell: (a) => (a.loaded ? <span class="badge good">{w.resident(bytes(a.memory_bytes, l))}</span> : <span class="badge">{w.notResident}</span>)},
      {title: w.leases, end: true, cell: (a) => number(a.leases, l)},
      {title: w.requests, end: true, cell: (a) => number(a.requests, l)},
    ]} />
  );
}
