import {complete} from "../../lib/run.ts";
import {isAbort} from "../../lib/error.ts";
import {createStore} from "../../lib/store.ts";
import {emptyAnswer, type Answer} from "../../lib/completion.ts";
import {buildRequest, defaultSettings, type Settings, type Turn} from "./request.ts";

// The conversation outlives the view: an answer goes on while the reader looks at another one.

interface Conversation {
  turns: Turn[];
  busy: boolean;
}

export const conversation = createStore<Conversation>({turns: [], busy: false});
export const settings = createStore<Settings>(defaultSettings);
export const draft = createStore("");

// base is the id of the base model, which requests name; the view sets it.
export const base = createStore("");

let lastID = 0;
let abort: AbortController | undefined;

const newTurn = (turn: Omit<Turn, "id">): Turn => ({...turn, id: ++lastID});

function replaceTurn(turn: Turn): void {
  conversation.update((c) => ({...c, turns: c.turns.map((t) => (t.id === turn.id ? turn : t))}));
}

// say adds what the user wrote and has it answered.
export function say(text: string): Promise<void> {
  return answer([...conversation.get().turns, newTurn({role: "user", text})]);
}

// retry answers anew, in place of a turn of the assistant and all after it.
export function retry(id: number): Promise<void> {
  const {turns} = conversation.get();
  return answer(turns.slice(0, turns.findIndex((t) => t.id === id)));
}

// edit changes what the user wrote and answers anew from there.
export function edit(id: number, text: string): Promise<void> {
  const {turns} = conversation.get();
  return answer([...turns.slice(0, turns.findIndex((t) => t.id === id)), newTurn({role: "user", text})]);
}

// giveResults adds what the called tools returned, by the calls' order, and goes on.
export function giveResults(of: Answer, results: string[]): Promise<void> {
  const added = of.calls.map((call, i) => newTurn({role: "tool", text: results[i] ?? "", call}));
  return answer([...conversation.get().turns, ...added]);
}

export function stop(): void {
  abort?.abort();
}

export function clear(): void {
  stop();
  conversation.set({turns: [], busy: false});
}

// answer has turns answered by the settings as they are now.
async function answer(turns: Turn[]): Promise<void> {
  stop();
  const {request} = buildRequest(base.get(), settings.get(), turns);
  const own = new AbortController();
  abort = own;
  let turn = newTurn({role: "assistant", text: "", answer: emptyAnswer(performance.now())});
  conversation.set({turns: [...turns, turn], busy: true});
  const show = (a: Answer): void => {
    if (abort !== own) return;
    turn = {...turn, text: a.text, answer: a};
    replaceTurn(turn);
  };
  try {
    await complete(request, own.signal, show);
  } catch (error) {
    if (abort === own) replaceTurn({...turn, ...(isAbort(error) ? {stopped: true} : {error})});
  }
  if (abort === own) conversation.update((c) => ({...c, busy: false}));
}
