import {createStore} from "./store.ts";

// The API key lives in the session storage of this tab: closing the tab forgets it.

const name = "lorikeet.key";
let memory = ""; // where the browser forbids storage

export function currentKey(): string {
  try {
    return sessionStorage.getItem(name) ?? memory;
  } catch {
    return memory;
  }
}

export function setKey(key: string): void {
  memory = key;
  try {
    if (key === "") sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, key);
  } catch {
    // memory has it.
  }
}

// keyDialog is open while the reader is asked for the key; message says why.
export const keyDialog = createStore<{open: boolean; message: string}>({open: false, message: ""});

let waiting: {promise: Promise<boolean>; answer: (given: boolean) => void} | undefined;
let declined = false; // the reader closed the dialog: do not ask again by oneself

// askForKey opens the dialog and waits for a key; false where the reader gives none. All who ask at once share it.
export function askForKey(message: string): Promise<boolean> {
  if (declined) return Promise.resolve(false);
  if (waiting === undefined) {
    let answer: (given: boolean) => void = () => undefined;
    const promise = new Promise<boolean>((resolve) => (answer = resolve));
    waiting = {promise, answer};
    keyDialog.set({open: true, message});
  }
  return waiting.promise;
}

export function openKeyDialog(): void {
  keyDialog.set({open: true, message: ""});
}

// closeKeyDialog takes the dialog's answer: a key, or null where it was closed.
export function closeKeyDialog(key: string | null): void {
  if (key !== null) setKey(key);
  declined = key === null && (declined || waiting !== undefined);
  keyDialog.set({open: false, message: ""});
  waiting?.answer(key !== null);
  waiting = undefined;
}
