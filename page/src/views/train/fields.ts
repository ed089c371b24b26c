import {createStore} from "../../lib/store.ts";

// The settings of a new job, under the API's names. A field that is null is left to the server, whose default the preview shows.

export type Value = string | number | boolean | null;

export interface Field {
  name: string;
  kind: "number" | "choice" | "flag" | "names";
  main?: boolean; // always seen
  min?: number;
  max?: number;
  choices?: string[];
}

export const methods = ["supervised", "dpo", "ipo", "orpo", "simpo", "kto", "reinforcement"];

export const fields: Field[] = [
  {name: "num_train_epochs", kind: "number", main: true, min: 0},
  {name: "learning_rate", kind: "number", main: true, min: 0, max: 1},
  {name: "r", kind: "number", main: true, min: 1, max: 512},
  {name: "per_device_train_batch_size", kind: "number", main: true, min: 1},
  {name: "lora_alpha", kind: "number", min: 0},
  {name: "target_modules", kind: "names"},
  {name: "max_length", kind: "number", min: 2},
  {name: "max_steps", kind: "number", min: 0},
  {name: "gradient_accumulation_steps", kind: "number", min: 1},
  {name: "validation_split", kind: "number", min: 0, max: 0.5},
  {name: "early_stopping_patience", kind: "number", min: 0},
  {name: "save_steps", kind: "number", min: 0},
  {name: "lr_scheduler_type", kind: "choice", choices: ["linear", "cosine", "constant"]},
  {name: "warmup_ratio", kind: "number", min: 0, max: 1},
  {name: "weight_decay", kind: "number", min: 0, max: 1},
  {name: "lora_dropout", kind: "number", min: 0, max: 1},
  {name: "neftune_noise_alpha", kind: "number", min: 0},
  {name: "seed", kind: "number", min: 0},
  {name: "truncation", kind: "choice", choices: ["truncate", "drop"]},
  {name: "packing", kind: "flag"},
  {name: "train_on_inputs", kind: "flag"},
  {name: "use_rslora", kind: "flag"},
  {name: "use_dora", kind: "flag"},
];

export interface Draft {
  name: string;
  from: string; // an adapter to train on from, or ""
  method: string;
  reward: string; // JSON, of the method reinforcement
  values: Record<string, Value>;
  file: File | null;
  validation: File | null;
}

export const emptyDraft: Draft = {name: "", from: "", method: "supervised", reward: "", values: {}, file: null, validation: null};

// draft outlives the view.
export const draft = createStore<Draft>(emptyDraft);

// textsOf are the texts of the form that the API takes, besides its files. Names of modules are a list.
export function textsOf(d: Draft): [string, string][] {
  const out: [string, string][] = [["method", d.method]];
  if (d.name.trim() !== "") out.push(["name", d.name.trim()]);
  if (d.from !== "") out.push(["from", d.from]);
  if (d.method === "reinforcement" && d.reward.trim() !== "") out.push(["reward", d.reward]);
  for (const f of fields) {
    const v = d.values[f.name];
    if (v === undefined || v === null || v === "" || v === false) continue;
    out.push([f.name, f.kind === "names" ? JSON.stringify(String(v).split(/[\s,]+/).filter((s) => s !== "")) : String(v)]);
  }
  return out;
}

export function formOf(d: Draft): FormData {
  const form = new FormData();
  for (const [name, text] of textsOf(d)) form.append(name, text);
  if (d.file !== null) form.append("file", d.file, d.file.name);
  if (d.validation !== null) form.append("validation_file", d.validation, d.validation.name);
  return form;
}

// nameOf proposes a name for the adapter: that of the file, of the characters that a name may have.
export function nameOf(file: string): string {
  return file.replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 64);
}
