import type {JSX} from "preact";
import type {Schema} from "../../lib/api.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {AdapterBox} from "../../parts/adapterbox.tsx";
import {Button} from "../../parts/button.tsx";
import {useMoreChoices} from "../../parts/choices.ts";
import {icons} from "../../parts/icons.tsx";
import {maxColumns, newColumn, setup, type Column} from "./state.ts";
import {words} from "./words.ts";

// Columns chooses who answers.
export function Columns(p: {models: Schema<"Model">[]}): JSX.Element {
  const w = useWords(words);
  const {columns} = useStore(setup);
  const more = useMoreChoices(p.models, columns.map((c) => c.name));
  const set = (change: (columns: Column[]) => Column[]): void => setup.update((s) => ({...s, columns: change(s.columns)}));
  return (
    <fieldset class="card picked">
      <legend class="visually-hidden">{w.columns}</legend>
      <div class="columns">
        {columns.map((c, i) => (
          <div key={c.id} class="column-line">
            <AdapterBox
              label={w.column(i + 1)} value={c.name} models={p.models} more={more}
              onChange={(name) => set((list) => list.map((x) => (x.id === c.id ? {...x, name} : x)))}
            />
            {columns.length > 1 && <Button kind="quiet" icon={icons.close()} label={w.removeColumn(i + 1)} onClick={() => set((list) => list.filter((x) => x.id !== c.id))} />}
          </div>
        ))}
      </div>
      <div class="row spread">
        <span class="muted small">{w.columnHint}</span>
        <Button small icon={icons.add()} disabled={columns.length >= maxColumns} onClick={() => set((list) => [...list, newColumn("")])}>{w.addColumn}</Button>
      </div>
    </fieldset>
  );
}
