import {useEffect, useState} from "preact/hooks";

// A Store holds one value outside of the components, so that it outlives the view that shows it.
export interface Store<T> {
  get(): T;
  set(value: T): void;
  update(change: (value: T) => T): void;
  subscribe(listener: () => void): () => void;
}

export function createStore<T>(first: T): Store<T> {
  let value = first;
  const listeners = new Set<() => void>();
  const set = (next: T): void => {
    if (Object.is(next, value)) return;
    value = next;
    for (const listener of [...listeners]) listener();
  };
  return {
    get: () => value,
    set,
    update: (change) => set(change(value)),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

// useStore returns the store's value and draws the component again when it changes.
export function useStore<T>(store: Store<T>): T {
  const [, redraw] = useState(0);
  useEffect(() => {
    const seen = store.get();
    const stop = store.subscribe(() => redraw((n) => n + 1));
    if (!Object.is(seen, store.get())) redraw((n) => n + 1);
    return stop;
  }, [store]);
  return store.get();
}
