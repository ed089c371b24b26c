import {api, ask, type Schema} from "../lib/api.ts";
import {significant} from "../lib/format.ts";
import {usePoll} from "../lib/poll.ts";
import {useLanguage} from "../lib/settings.ts";
import {useWords} from "../lib/words.ts";
import type {Choice} from "./combobox.tsx";
import {words} from "./words.ts";

// useMoreChoices are what can be named besides the adapters: the versions of those that are chosen, and the checkpoints of
// the last training jobs. A server without training, or a key without that role, has no checkpoints.
export function useMoreChoices(models: Schema<"Model">[], names: string[]): Choice[] {
  const w = useWords(words);
  const language = useLanguage();
  const chosen = models.filter((m) => m.parent !== null && names.some((n) => n.split("@")[0] === m.id)).map((m) => m.id);
  const versions = usePoll(async (signal) => (await Promise.all(chosen.map((name) => versionsOf(name, signal)))).flat(), 0, chosen.join("\n")).data ?? [];
  const jobs = usePoll(async (signal) => (await ask(api.GET("/adapters/train", {params: {query: {limit: 20}}, signal}))).data, 30).data ?? [];
  const choices: Choice[] = jobs.flatMap((job) => job.checkpoints.map((c) => ({value: c.adapter, note: w.checkpoint(job.name, significant(c.loss, language))})));
  const seen = new Set(choices.map((c) => c.value));
  for (const v of versions) {
    const value = `${v.name}@${v.version}`;
    if (!seen.has(value)) choices.push({value, note: w.version});
  }
  return choices;
}

async function versionsOf(name: string, signal: AbortSignal): Promise<Schema<"Adapter">[]> {
  try {
    return (await ask(api.GET("/adapters/{name}/versions", {params: {path: {name}}, signal}))).data;
  } catch {
    return []; // it has been deleted meanwhile; the answer will say so
  }
}
