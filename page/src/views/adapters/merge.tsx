import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {useModels} from "../../lib/adapters.ts";
import {api, ask} from "../../lib/api.ts";
import {number} from "../../lib/format.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useWords} from "../../lib/words.ts";
import {AdapterBox} from "../../parts/adapterbox.tsx";
import {Button} from "../../parts/button.tsx";
import {useMoreChoices} from "../../parts/choices.ts";
import {NumberField, Select, TextField} from "../../parts/field.tsx";
import {icons} from "../../parts/icons.tsx";
import {hasDensity, hasSeed, hasSigns, mergeRequest, methods, signs, type Merge, type Part} from "./add.ts";
import {AddForm, useAdding, type FormProps} from "./upload.tsx";
import {words} from "./words.ts";

const mostParts = 16; // of the API
const empty: Merge = {name: "", parts: [{name: "", weight: null}, {name: "", weight: null}], method: "cat", density: 0.5, sign: "total", rank: null, seed: null};

// MergeForm makes an adapter of others.
export function MergeForm(p: FormProps): JSX.Element {
  const w = useWords(words);
  const l = useLanguage();
  const models = useModels().data ?? [];
  const [m, setMerge] = useState<Merge>(empty);
  const more = useMoreChoices(models, m.parts.map((x) => x.name)).filter((c) => !c.value.includes("@step-")); // checkpoints are of a job
  const adding = useAdding(p.onDone);
  const set = (change: Partial<Merge>): void => {
    adding.forget();
    setMerge((old) => ({...old, ...change}));
  };
  const setPart = (i: number, change: Partial<Part>): void => set({parts: m.parts.map((x, k) => (k === i ? {...x, ...change} : x))});
  const ready = m.name.trim() !== "" && m.parts.every((x) => x.name !== "");
  const merge = (): void => {
    void adding.run(() => ask(api.POST("/adapters/merge", {body: mergeRequest(m)}))).then((done) => done && setMerge(empty));
  };
  return (
    <AddForm label={w.merge} action={w.mergeNow} adding={adding} ready={ready} onSend={merge}>
      <fieldset class="picked">
        <legend class="visually-hidden">{w.parts}</legend>
        {m.parts.map((x, i) => (
          <div key={i} class="merge-part">
            <AdapterBox label={w.part(number(i + 1, l))} value={x.name} models={models} more={more} base={false} fault={adding.faultOf(`from[${i}].name`)} onChange={(name) => setPart(i, {name})} />
            <NumberField label={w.weight(number(i + 1, l))} value={x.weight} placeholder="1" fault={adding.faultOf(`from[${i}].weight`)} onInput={(weight) => setPart(i, {weight})} />
            {m.parts.length > 1 && <Button kind="quiet" icon={icons.close()} label={w.removePart(number(i + 1, l))} onClick={() => set({parts: m.parts.filter((_, k) => k !== i)})} />}
          </div>
        ))}
        {m.parts.length < mostParts && <div><Button small icon={icons.add()} onClick={() => set({parts: [...m.parts, {name: "", weight: null}]})}>{w.addPart}</Button></div>}
      </fieldset>
      <Select label={w.method} value={m.method} fault={adding.faultOf("method")} options={methods.map((x) => ({value: x, text: w.methods[x] ?? x}))} onChange={(method) => set({method})} />
      {hasDensity(m.method) && <NumberField label={w.density} value={m.density} min={0} max={1} fault={adding.faultOf("density")} onInput={(density) => set({density})} />}
      {hasSigns(m.method) && <Select label={w.sign} value={m.sign} fault={adding.faultOf("majority_sign_method")} options={signs.map((x) => ({value: x, text: w.signs[x] ?? x}))} onChange={(sign) => set({sign})} />}
      {m.method === "svd" && <NumberField label={w.mergedRank} value={m.rank} min={1} max={512} fault={adding.faultOf("rank")} onInput={(rank) => set({rank})} />}
      {hasSeed(m.method) && <NumberField label={w.seed} value={m.seed} min={0} placeholder="0" fault={adding.faultOf("seed")} onInput={(seed) => set({seed})} />}
      <TextField label={w.newName} hint={w.newNameHint} value={m.name} fault={adding.faultOf("name")} onInput={(name) => set({name})} />
    </AddForm>
  );
}
