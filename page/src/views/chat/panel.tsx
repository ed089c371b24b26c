import type {JSX} from "preact";
import type {Schema} from "../../lib/api.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {Select, TextArea} from "../../parts/field.tsx";
import {PickedAdapters} from "../../parts/picked.tsx";
import {SamplingFields} from "../../parts/sampling.tsx";
import {buildRequest, defaultSettings, type Settings} from "./request.ts";
import {base, settings} from "./state.ts";
import {words} from "./words.ts";

const exampleTools = `[
  {
    "type": "function",
    "function": {
      "name": "weather",
      "description": "The weather of a place.",
      "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"]
      }
    }
  }
]`;

const exampleSchema = `{
  "type": "object",
  "properties": {"answer": {"type": "string"}},
  "required": ["answer"]
}`;

// Panel has the settings of the next answer.
export function Panel(p: {models: Schema<"Model">[]}): JSX.Element {
  const w = useWords(words);
  const s = useStore(settings);
  const {faults} = buildRequest(useStore(base), s, []);
  const set = (change: Partial<Settings>): void => settings.update((old) => ({...old, ...change}));
  const fault = (why: string | undefined): string | undefined => (why === undefined ? undefined : w.notJSON(why));
  return (
    <div class="stack">
      <PickedAdapters picked={s.adapters} models={p.models} onChange={(adapters) => set({adapters})} />
      <TextArea label={w.system} value={s.system} rows={3} onInput={(system) => set({system})} />
      <SamplingFields sampling={s.sampling} onChange={(sampling) => set({sampling})} />
      <details class="more">
        <summary>{w.more}</summary>
        <div class="stack">
          <TextArea label={w.stops} hint={w.stopsHint} value={s.stop} rows={2} onInput={(stop) => set({stop})} />
          <Select
            label={w.effort} value={s.effort} onChange={(effort) => set({effort})}
            options={[{value: "", text: w.effortModel}, {value: "none", text: w.effortNone}, ...["low", "medium", "high"].map((value) => ({value, text: value}))]}
          />
          <Select
            label={w.format} value={s.format} onChange={(format) => set({format, schema: s.schema === "" && format === "json_schema" ? exampleSchema : s.schema})}
            options={[{value: "text", text: w.formatText}, {value: "json_object", text: w.formatObject}, {value: "json_schema", text: w.formatSchema}]}
          />
          {s.format === "json_schema" && <TextArea label={w.schema} value={s.schema} rows={6} code fault={fault(faults.schema)} onInput={(schema) => set({schema})} />}
          <TextArea label={w.tools} hint={w.toolsHint} value={s.tools} rows={4} code fault={fault(faults.tools)} onInput={(tools) => set({tools})} />
          {s.tools.trim() !== "" && (
            <Select
              label={w.toolChoice} value={s.toolChoice} onChange={(toolChoice) => set({toolChoice})}
              options={[{value: "auto", text: w.toolAuto}, {value: "required", text: w.toolRequired}, {value: "none", text: w.toolNone}]}
            />
          )}
          {s.tools === "" && <div><Button small onClick={() => set({tools: exampleTools})}>{w.toolsExample}</Button></div>}
        </div>
      </details>
      <div><Button small kind="quiet" onClick={() => settings.set(defaultSettings)}>{w.reset}</Button></div>
    </div>
  );
}
