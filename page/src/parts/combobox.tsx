import type {JSX} from "preact";
import {useId, useRef, useState} from "preact/hooks";
import {useWords} from "../lib/words.ts";
import {words} from "./words.ts";

export interface Choice {
  value: string;
  text?: string; // what is shown in place of value
  note?: string;
}

interface Props {
  label: string;
  hideLabel?: boolean;
  value: string;
  choices: Choice[];
  onChange: (value: string) => void; // a choice, or what was typed
  placeholder?: string;
  hint?: string;
  fault?: string | undefined;
  disabled?: boolean | undefined;
}

// Combobox is a text field with a list that what is typed filters. What is not in the list may be typed, too, such as
// name@version. Keys: arrows move, Enter takes, Escape closes.
export function Combobox(p: Props): JSX.Element {
  const w = useWords(words);
  const id = useId();
  const [typed, setTyped] = useState<string | null>(null); // null: nothing typed since the list opened
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const list = useRef<HTMLUListElement>(null);

  const query = (typed ?? "").trim().toLowerCase();
  const shown = query === "" ? p.choices : p.choices.filter((c) => `${c.value} ${c.text ?? ""} ${c.note ?? ""}`.toLowerCase().includes(query));
  const textOf = (value: string): string => p.choices.find((c) => c.value === value)?.text ?? value;

  const close = (): void => {
    setOpen(false);
    setTyped(null);
    setActive(-1);
  };
  const take = (value: string): void => {
    p.onChange(value);
    close();
  };
  const leave = (): void => {
    if (typed !== null) {
      const exact = p.choices.find((c) => (c.text ?? c.value) === typed.trim());
      p.onChange(exact?.value ?? typed.trim());
    }
    close();
  };
  const move = (step: number): void => {
    if (!open) setOpen(true);
    const next = shown.length === 0 ? -1 : (active + step + shown.length) % shown.length;
    setActive(next);
    list.current?.children[next]?.scrollIntoView({block: "nearest"});
  };
  const onKeyDown = (e: KeyboardEvent): void => {
    const chosen = shown[active];
    if (e.key === "ArrowDown") move(1);
    else if (e.key === "ArrowUp") move(active < 0 ? 0 : -1);
    else if (e.key === "Enter" && open && chosen !== undefined) take(chosen.value);
    else if (e.key === "Enter" && open) leave();
    else if (e.key === "Escape" && open) close();
    else return;
    e.preventDefault();
    e.stopPropagation();
  };

  return (
    <div class="field">
      <label for={id} class={p.hideLabel ? "visually-hidden" : undefined}>{p.label}</label>
      <div class="combobox">
        <input
          id={id} class="input" role="combobox" autocomplete="off" spellcheck={false} disabled={p.disabled} placeholder={p.placeholder}
          aria-expanded={open} aria-controls={id + "-list"} aria-autocomplete="list" aria-invalid={p.fault ? "true" : undefined}
          aria-describedby={[p.hint ? id + "-hint" : "", p.fault ? id + "-fault" : ""].join(" ").trim() || undefined}
          aria-activedescendant={open && active >= 0 ? `${id}-${active}` : undefined}
          value={typed ?? textOf(p.value)}
          onFocus={(e) => e.currentTarget.select()}
          onClick={() => setOpen(true)}
          onInput={(e) => {
            setTyped(e.currentTarget.value);
            setOpen(true);
            setActive(-1);
          }}
          onKeyDown={onKeyDown}
          onBlur={leave}
        />
        <ul id={id + "-list"} role="listbox" aria-label={p.label} ref={list} hidden={!open} onMouseDown={(e) => e.preventDefault()}>
          {shown.map((c, i) => (
            <li key={c.value} id={`${id}-${i}`} role="option" aria-selected={i === active} onClick={() => take(c.value)}>
              {c.text ?? c.value}
              {c.note !== undefined && <span class="note">{c.note}</span>}
            </li>
          ))}
          {shown.length === 0 && <li role="option" aria-disabled="true" aria-selected={false} class="muted">{w.noMatch}</li>}
        </ul>
      </div>
      {p.hint ? <span class="hint" id={id + "-hint"}>{p.hint}</span> : null}
      {p.fault ? <span class="fault" id={id + "-fault"}>{p.fault}</span> : null}
    </div>
  );
}
