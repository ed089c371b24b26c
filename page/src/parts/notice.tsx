import type {ComponentChildren, JSX} from "preact";
import {ApiError, messageOf} from "../lib/error.ts";
import {createStore, useStore} from "../lib/store.ts";
import {useWords} from "../lib/words.ts";
import {Button} from "./button.tsx";
import {icons} from "./icons.tsx";
import {words} from "./words.ts";

type Kind = "bad" | "warn" | "good" | "plain";

export function Notice(p: {kind: Kind; children: ComponentChildren; action?: JSX.Element}): JSX.Element {
  return (
    <div class={"notice " + p.kind} role={p.kind === "bad" ? "alert" : undefined}>
      <div class="grow">{p.children}</div>
      {p.action}
    </div>
  );
}

// ErrorNotice shows what the server said, which field it means, and the request's id.
export function ErrorNotice(p: {error: unknown; onRetry?: () => void}): JSX.Element | null {
  const w = useWords(words);
  if (p.error === undefined || p.error === null) return null;
  const e = p.error;
  const where = e instanceof ApiError ? [e.param && w.field(e.param), e.code, e.request && w.request(e.request)].filter(Boolean).join(" · ") : "";
  return (
    <Notice kind="bad" {...(p.onRetry === undefined ? {} : {action: <Button small onClick={p.onRetry}>{w.retry}</Button>})}>
      <div>{messageOf(e)}</div>
      {where !== "" && <div class="where">{where}</div>}
    </Notice>
  );
}

export function Loading(): JSX.Element {
  return <p class="muted" role="status">{useWords(words).loading}</p>;
}

interface Toast {
  id: number;
  kind: Kind;
  text: string;
}

const toasts = createStore<Toast[]>([]);
let lastToast = 0;

// toast says something at the edge of the page, and to screen readers. It goes by itself, but for errors.
export function toast(text: string, kind: Kind = "good"): void {
  const id = ++lastToast;
  toasts.update((list) => [...list, {id, kind, text}].slice(-4));
  if (kind !== "bad") setTimeout(() => dismiss(id), 6000);
}

const dismiss = (id: number): void => toasts.update((list) => list.filter((t) => t.id !== id));

export function Toasts(): JSX.Element {
  const w = useWords(words);
  return (
    <div class="toasts" role="status" aria-live="polite">
      {useStore(toasts).map((t) => (
        <div key={t.id} class={"notice " + t.kind}>
          <div class="grow">{t.text}</div>
          <Button kind="quiet" small icon={icons.close()} label={w.dismiss} onClick={() => dismiss(t.id)} />
        </div>
      ))}
    </div>
  );
}

// announcement is what screen readers are told of changes that are only seen, such as the end of an answer. Its number has
// the same text told again.
const announcement = createStore({text: "", number: 0});

export const announce = (text: string): void => announcement.update((a) => ({text, number: a.number + 1}));

export function Announcer(): JSX.Element {
  const a = useStore(announcement);
  return <div class="visually-hidden" role="status" aria-live="polite"><span key={a.number}>{a.text}</span></div>;
}
