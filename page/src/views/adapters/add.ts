import type {Schema} from "../../lib/api.ts";

// What the forms send. All pure.

interface WithPath {
  path: string;
}

const wanted = ["adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tool_use.jinja", "tokenizer_config.json"];
const folderOf = (path: string): string => path.split("/").slice(0, -1).join("/");
const baseOf = (path: string): string => path.split("/").at(-1) ?? path;

// chooseFiles returns those of dropped files that make an adapter: of a folder PEFT's files and templates, without the
// checkpoints below it and what else a trainer leaves there. Where no adapter is seen, all are returned, and the server says
// what is missing.
export function chooseFiles<T extends WithPath>(files: T[]): T[] {
  const configs = files.filter((f) => baseOf(f.path) === "adapter_config.json").sort((a, b) => a.path.split("/").length - b.path.split("/").length);
  const first = configs[0];
  if (first === undefined) return files;
  const folder = folderOf(first.path);
  const templates = (folder === "" ? "" : folder + "/") + "additional_chat_templates";
  return files.filter((f) => (folderOf(f.path) === folder || folderOf(f.path) === templates) && wanted.includes(baseOf(f.path)));
}

// nameOf proposes a name: that of the folder, or of a lone file, of the characters that a name may have.
export function nameOf(files: WithPath[]): string {
  const first = files[0];
  if (first === undefined) return "";
  const folder = baseOf(folderOf(first.path));
  const name = folder !== "" ? folder : files.length === 1 ? first.path.replace(/(\.tar)?\.[^.]*$/, "") : "";
  return name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 64);
}

export const methods = ["cat", "svd", "linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"] as const;
export type Method = (typeof methods)[number];
export const signs = ["total", "frequency"] as const;

export interface Part {
  name: string;
  weight: number | null; // null is 1
}

export interface Merge {
  name: string;
  parts: Part[];
  method: Method;
  density: number | null;
  sign: (typeof signs)[number];
  rank: number | null;
  seed: number | null;
}

export const hasDensity = (m: Method): boolean => m === "ties" || m.startsWith("dare") || m === "magnitude_prune";
export const hasSigns = (m: Method): boolean => m.endsWith("ties");
export const hasSeed = (m: Method): boolean => m.startsWith("dare");

// mergeRequest has the fields that its method knows.
export function mergeRequest(m: Merge): Schema<"MergeRequest"> {
  return {
    name: m.name.trim(), method: m.method,
    from: m.parts.map((p) => (p.weight === null ? {name: p.name} : {name: p.name, weight: p.weight})) as Schema<"MergeRequest">["from"],
    ...(hasDensity(m.method) && m.density !== null ? {density: m.density} : {}),
    ...(hasSigns(m.method) ? {majority_sign_method: m.sign} : {}),
    ...(m.method === "svd" && m.rank !== null ? {rank: m.rank} : {}),
    ...(hasSeed(m.method) && m.seed !== null ? {seed: m.seed} : {}),
  } as Schema<"MergeRequest">;
}
