import {useEffect} from "preact/hooks";
import {follow} from "../../lib/api.ts";
import {createStore, useStore} from "../../lib/store.ts";
import {addEvents, none, type Event, type Followed} from "./curve.ts";

const followed = createStore<Record<string, Followed>>({});

// followJob reads a job's events until it has ended or signal does, and connects again after a failure. What comes within
// a moment is added together.
async function followJob(id: string, signal: AbortSignal): Promise<void> {
  let fresh: Event[] = [];
  let timer = 0;
  const flush = (done = false): void => {
    clearTimeout(timer);
    timer = 0;
    const events = fresh;
    fresh = [];
    followed.update((all) => ({...all, [id]: addEvents(all[id] ?? none, events, done)}));
  };
  while (!signal.aborted) {
    try {
      for await (const e of follow(`/adapters/train/${encodeURIComponent(id)}/events`, signal)) {
        if (e.data === "[DONE]") return flush(true);
        const value: unknown = JSON.parse(e.data);
        if (typeof value !== "object" || value === null || "error" in value) break;
        fresh.push(value as Event);
        if (timer === 0) timer = window.setTimeout(flush, 200);
      }
    } catch {
      // The server was stopped, or the reader has left: the loop knows.
    }
    if (!signal.aborted) await new Promise((again) => setTimeout(again, 2000));
  }
  flush(followed.get()[id]?.done ?? false);
}

// useEvents follows jobs while the view is there; another round follows them again.
export function useEvents(ids: string[], round = 0): Record<string, Followed> {
  const key = ids.join(" ");
  useEffect(() => {
    const stop = new AbortController();
    for (const id of key === "" ? [] : key.split(" ")) {
      const old = followed.get()[id];
      if (old?.done) followed.update((all) => ({...all, [id]: {...old, done: false}})); // it may have been resumed
      void followJob(id, stop.signal);
    }
    return () => stop.abort();
  }, [key, round]);
  return useStore(followed);
}
