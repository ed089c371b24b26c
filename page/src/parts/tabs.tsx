import type {ComponentChildren, JSX} from "preact";
import {useId, useRef} from "preact/hooks";

interface Props<T extends string> {
  label: string;
  tabs: readonly {id: T; text: string}[];
  chosen: T;
  onChoose: (id: T) => void;
  children: ComponentChildren; // the panel of the chosen tab
}

// Tabs is a row of tabs, which arrows move along, and the panel of the chosen one.
export function Tabs<T extends string>(p: Props<T>): JSX.Element {
  const id = useId();
  const row = useRef<HTMLDivElement>(null);
  const onKeyDown = (e: KeyboardEvent): void => {
    const at = p.tabs.findIndex((t) => t.id === p.chosen);
    const last = p.tabs.length - 1;
    const next = {ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last}[e.key];
    const tab = next === undefined ? undefined : p.tabs[next];
    if (tab === undefined || next === undefined) return;
    e.preventDefault();
    p.onChoose(tab.id);
    const button = row.current?.children[next];
    if (button instanceof HTMLElement) button.focus();
  };
  return (
    <div>
      <div class="tabs" role="tablist" aria-label={p.label} ref={row} onKeyDown={onKeyDown}>
        {p.tabs.map((t) => (
          <button
            key={t.id} type="button" role="tab" id={`${id}-${t.id}`} aria-selected={t.id === p.chosen} aria-controls={id + "-panel"}
            tabIndex={t.id === p.chosen ? 0 : -1} onClick={() => p.onChoose(t.id)}
          >
            {t.text}
          </button>
        ))}
      </div>
      <div class="tab-panel" role="tabpanel" id={id + "-panel"} aria-labelledby={`${id}-${p.chosen}`}>{p.children}</div>
    </div>
  );
}
