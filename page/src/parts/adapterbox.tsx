import type {JSX} from "preact";
import type {Schema} from "../lib/api.ts";
import {useWords} from "../lib/words.ts";
import {Combobox, type Choice} from "./combobox.tsx";
import {words} from "./words.ts";

interface Props {
  label: string;
  hideLabel?: boolean;
  value: string; // a name, name@version, or "" for the base
  models: Schema<"Model">[]; // of useModels
  more?: Choice[]; // such as versions and checkpoints
  onChange: (value: string) => void;
  hint?: string;
  fault?: string | undefined;
  base?: boolean; // whether the base model can be chosen
  disabled?: boolean | undefined;
}

// AdapterBox is the combobox of the adapters; a name@version may be typed.
export function AdapterBox(p: Props): JSX.Element {
  const w = useWords(words);
  const choices: Choice[] = [];
  for (const m of p.models) {
    if (m.parent === null) {
      if (p.base ?? true) choices.push({value: "", text: w.base, note: m.id});
    } else {
      choices.push({value: m.id, note: m.root});
    }
  }
  return (
    <Combobox
      label={p.label} hideLabel={p.hideLabel ?? false} value={p.value} choices={[...choices, ...(p.more ?? [])]} onChange={p.onChange} placeholder={p.base ?? true ? w.base : ""}
      {...(p.hint === undefined ? {} : {hint: p.hint})} fault={p.fault} disabled={p.disabled}
    />
  );
}
