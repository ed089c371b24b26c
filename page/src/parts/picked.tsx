import type {JSX} from "preact";
import type {Schema} from "../lib/api.ts";
import {maxAdapters, type Picked} from "../lib/request.ts";
import {useWords, type Words} from "../lib/words.ts";
import {AdapterBox} from "./adapterbox.tsx";
import {Button} from "./button.tsx";
import {useMoreChoices} from "./choices.ts";
import {NumberField} from "./field.tsx";
import {icons} from "./icons.tsx";

const en = {
  adapters: "Adapters",
  adapter: (n: number) => (n === 1 ? "Adapter" : `Adapter ${n}`),
  scale: (n: number) => (n === 1 ? "Scale" : `Scale ${n}`),
  hint: "A name, or name@version. Several are summed.",
  add: "Add to the sum",
  remove: (n: number) => `Remove adapter ${n}`,
};

const words: Words<typeof en> = {
  en,
  zh: {
    adapters: "适配器",
    adapter: (n) => (n === 1 ? "适配器" : `适配器 ${n}`),
    scale: (n) => (n === 1 ? "缩放" : `缩放 ${n}`),
    hint: "名称,或 名称@版本。多个适配器会相加。",
    add: "再加一个相加",
    remove: (n) => `移除适配器 ${n}`,
  },
};

// PickedAdapters chooses the adapters of a request with their scales: none is the base, several are summed.
export function PickedAdapters(p: {picked: Picked[]; models: Schema<"Model">[]; onChange: (picked: Picked[]) => void}): JSX.Element {
  const w = useWords(words);
  const more = useMoreChoices(p.models, p.picked.map((x) => x.name));
  const set = (i: number, change: Partial<Picked>): void => p.onChange(p.picked.map((x, k) => (k === i ? {...x, ...change} : x)));
  return (
    <fieldset class="picked">
      <legend class="visually-hidden">{w.adapters}</legend>
      {p.picked.map((x, i) => (
        <div key={i} class="picked-line">
          <AdapterBox label={w.adapter(i + 1)} value={x.name} models={p.models} more={more} base={i === 0} onChange={(name) => set(i, {name})} />
          <NumberField label={w.scale(i + 1)} value={x.scale} min={-16} max={16} step="any" placeholder="1" disabled={x.name === ""} onInput={(scale) => set(i, {scale})} />
          {p.picked.length > 1 && <Button kind="quiet" icon={icons.close()} label={w.remove(i + 1)} onClick={() => p.onChange(p.picked.filter((_, k) => k !== i))} />}
        </div>
      ))}
      <span class="hint muted small">{w.hint}</span>
      {p.picked.length < maxAdapters && p.picked.every((x) => x.name !== "") && (
        <div><Button small icon={icons.add()} onClick={() => p.onChange([...p.picked, {name: "", scale: null}])}>{w.add}</Button></div>
      )}
    </fieldset>
  );
}
