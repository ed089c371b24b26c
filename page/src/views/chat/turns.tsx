import type {ComponentChildren, JSX} from "preact";
import {useEffect, useRef, useState} from "preact/hooks";
import {speed, type Answer} from "../../lib/completion.ts";
import {duration, number} from "../../lib/format.ts";
import {useLanguage} from "../../lib/settings.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {CopyButton} from "../../parts/code.tsx";
import {TextArea} from "../../parts/field.tsx";
import {icons} from "../../parts/icons.tsx";
import {Markdown} from "../../parts/markdown.tsx";
import {announce, ErrorNotice} from "../../parts/notice.tsx";
import {Calls} from "./calls.tsx";
import type {Turn} from "./request.ts";
import {conversation, edit, retry} from "./state.ts";
import {words} from "./words.ts";

// Turns shows the conversation. While the reader is at its end, it stays there.
export function Turns(p: {turns: Turn[]}): JSX.Element {
  const w = useWords(words);
  const {busy} = useStore(conversation);
  const wasBusy = useRef(false);
  const last = p.turns.at(-1);
  useStayAtEnd(p.turns.length, `${last?.text.length} ${last?.answer?.reasoning.length} ${busy}`);
  useEffect(() => {
    if (wasBusy.current && !busy) announce(last?.stopped ? w.stopped : w.done);
    wasBusy.current = busy;
  }, [busy]);
  return (
    <div class="turns">
      {p.turns.map((t) => {
        if (t.role === "user") return <UserTurn key={t.id} turn={t} />;
        if (t.role === "tool") return <Frame key={t.id} kind="tool" who={w.tool(t.call?.name ?? "")}><pre class="turn-text">{t.text}</pre></Frame>;
        return <ModelTurn key={t.id} turn={t} last={t === last} busy={busy} />;
      })}
    </div>
  );
}

// useStayAtEnd scrolls to the end of the page when there are more turns, and as the last one grows while the reader has not
// scrolled away from there.
function useStayAtEnd(turns: number, grown: string): void {
  const stays = useRef(true);
  const toEnd = (): void => scrollTo(0, document.documentElement.scrollHeight);
  useEffect(() => {
    const page = document.documentElement;
    const scrolled = (): void => {
      stays.current = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
    };
    addEventListener("scroll", scrolled);
    return () => removeEventListener("scroll", scrolled);
  }, []);
  useEffect(() => {
    stays.current = true;
    toEnd();
  }, [turns]);
  useEffect(() => {
    if (stays.current) toEnd();
  }, [grown]);
}

function Frame(p: {kind: string; who: string; note?: string; children: ComponentChildren; foot?: JSX.Element | undefined}): JSX.Element {
  return (
    <article class={"turn " + p.kind} aria-label={p.who}>
      <header class="turn-head"><strong>{p.who}</strong>{p.note !== undefined && <span class="muted small mono">{p.note}</span>}</header>
      {p.children}
      {p.foot}
    </article>
  );
}

function UserTurn(p: {turn: Turn}): JSX.Element {
  const w = useWords(words);
  const [text, setText] = useState<string | null>(null); // while it is edited
  if (text === null) {
    const foot = <footer class="turn-foot"><Button small kind="quiet" icon={icons.edit()} onClick={() => setText(p.turn.text)}>{w.edit}</Button></footer>;
    return <Frame kind="user" who={w.you} foot={foot}><p class="turn-text">{p.turn.text}</p></Frame>;
  }
  return (
    <Frame kind="user" who={w.you}>
      <form
        class="stack tight"
        onSubmit={(e) => {
          e.preventDefault();
          void edit(p.turn.id, text);
        }}
      >
        <TextArea label={w.editLabel} hideLabel value={text} rows={4} onInput={setText} />
        <div class="row">
          <Button small kind="primary" submit disabled={text.trim() === ""}>{w.saveEdit}</Button>
          <Button small onClick={() => setText(null)}>{w.cancel}</Button>
        </div>
      </form>
    </Frame>
  );
}

function ModelTurn(p: {turn: Turn; last: boolean; busy: boolean}): JSX.Element {
  const w = useWords(words);
  const a = p.turn.answer;
  const running = p.last && p.busy;
  const foot = running ? undefined : (
    <footer class="turn-foot">
      <Button small kind="quiet" icon={icons.retry()} onClick={() => void retry(p.turn.id)}>{w.retry}</Button>
      {p.turn.text !== "" && <CopyButton text={p.turn.text} />}
    </footer>
  );
  const who = a === undefined || a.first === 0 ? "" : a.adapters.length === 0 ? w.base : a.adapters.join(" + ");
  return (
    <Frame kind="model" who={w.model} note={who} foot={foot}>
      {a !== undefined && a.reasoning !== "" && (
        <details class="reasoning" open={running && p.turn.text === ""}>
          <summary>{w.reasoning}</summary>
          <Markdown text={a.reasoning} growing={running} />
        </details>
      )}
      {p.turn.text !== "" && <Markdown text={p.turn.text} growing={running} />}
      {running && a?.first === 0 && <p class="muted">{w.waiting}</p>}
      {a !== undefined && a.calls.length > 0 && <Calls answer={a} asking={p.last && !p.busy} />}
      {p.turn.stopped && <p class="muted small">{w.stopped}</p>}
      {a?.finish === "length" && <p class="muted small">{w.length}</p>}
      <ErrorNotice error={p.turn.error} />
      {a !== undefined && a.first > 0 && <Measures answer={a} />}
    </Frame>
  );
}

// Measures says how fast an answer came.
export function Measures(p: {answer: Answer}): JSX.Element {
  const w = useWords(words);
  const language = useLanguage();
  const a = p.answer;
  const rate = speed(a);
  const list = [
    w.firstToken(duration((a.first - a.began) / 1000, language)),
    w.tokens(number(a.tokens || a.pieces, language)),
    ...(rate > 0 ? [w.speed(number(rate, language, 1))] : []),
    ...(a.cached > 0 ? [w.cached(number(a.cached, language))] : []),
  ];
  return <p class="measures muted small number">{list.join(" · ")}</p>;
}
