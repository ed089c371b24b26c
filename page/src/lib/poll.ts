import {useCallback, useEffect, useRef, useState} from "preact/hooks";

export interface Polled<T> {
  data: T | undefined; // of the last load that succeeded
  error: unknown; // of the last load, if it failed
  loading: boolean; // until the first load has ended
  reload: () => void;
}

// usePoll loads again and again, `seconds` after the last load has ended; 0 loads once. Nothing is asked while the page is
// hidden, and one load is under way at a time. A change of key forgets what was loaded.
export function usePoll<T>(load: (signal: AbortSignal) => Promise<T>, seconds: number, key = ""): Polled<T> {
  const [state, setState] = useState<{key: string; data: T | undefined; error: unknown; loading: boolean}>({key, data: undefined, error: undefined, loading: true});
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    let busy = false;
    const run = async (): Promise<void> => {
      clearTimeout(timer);
      if (busy || stop.signal.aborted || document.hidden) return;
      busy = true;
      try {
        const data = await latest.current(stop.signal);
        if (!stop.signal.aborted) setState({key, data, error: undefined, loading: false});
      } catch (error) {
        if (!stop.signal.aborted) setState((s) => ({key, data: s.key === key ? s.data : undefined, error, loading: false}));
      }
      busy = false;
      if (seconds > 0 && !stop.signal.aborted) timer = window.setTimeout(run, seconds * 1000);
    };
    let asked = !document.hidden;
    const seen = (): void => {
      if (document.hidden) clearTimeout(timer);
      else if (seconds > 0 || !asked) {
        asked = true;
        void run();
      }
    };
    void run();
    document.addEventListener("visibilitychange", seen);
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [seconds, key, turn]);

  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const own = state.key === key;
  return {data: own ? state.data : undefined, error: own ? state.error : undefined, loading: own ? state.loading : true, reload};
}
