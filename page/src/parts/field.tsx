import type {ComponentChildren, JSX} from "preact";
import {useId} from "preact/hooks";

interface Common {
  label: string;
  hint?: ComponentChildren;
  fault?: string | undefined; // why the value is refused
  hideLabel?: boolean; // the label is for screen readers alone
}

// described joins what a control refers to.
const described = (id: string, p: Common): string | undefined =>
  [p.hint === undefined ? "" : id + "-hint", p.fault ? id + "-fault" : ""].filter((s) => s !== "").join(" ") || undefined;

// Frame is a label, a control and what is said of it.
function Frame(p: Common & {id: string; children: ComponentChildren}): JSX.Element {
  return (
    <div class="field">
      <label for={p.id} class={p.hideLabel ? "visually-hidden" : undefined}>{p.label}</label>
      {p.children}
      {p.hint !== undefined && <span class="hint" id={p.id + "-hint"}>{p.hint}</span>}
      {p.fault ? <span class="fault" id={p.id + "-fault"}>{p.fault}</span> : null}
    </div>
  );
}

interface TextProps extends Common {
  value: string;
  onInput: (value: string) => void;
  placeholder?: string;
  secret?: boolean; // a password or key
  disabled?: boolean | undefined;
  required?: boolean;
  autoFocus?: boolean;
}

export function TextField(p: TextProps): JSX.Element {
  const id = useId();
  return (
    <Frame id={id} {...p}>
      <input
        {...(p.secret ? {type: "password"} as const : {type: "text"} as const)} id={id} class="input" value={p.value} placeholder={p.placeholder} disabled={p.disabled} required={p.required}
        autofocus={p.autoFocus} autocomplete="off" spellcheck={false} aria-invalid={p.fault ? "true" : undefined} aria-describedby={described(id, p)}
        onInput={(e) => p.onInput(e.currentTarget.value)}
      />
    </Frame>
  );
}

interface AreaProps extends Common {
  value: string;
  onInput: (value: string) => void;
  onKeyDown?: (event: KeyboardEvent) => void;
  rows?: number;
  code?: boolean;
  placeholder?: string;
  disabled?: boolean | undefined;
}

export function TextArea(p: AreaProps): JSX.Element {
  const id = useId();
  return (
    <Frame id={id} {...p}>
      <textarea
        id={id} class={p.code ? "input code" : "input"} rows={p.rows ?? 3} value={p.value} placeholder={p.placeholder} disabled={p.disabled}
        spellcheck={!p.code} aria-invalid={p.fault ? "true" : undefined} aria-describedby={described(id, p)}
        onInput={(e) => p.onInput(e.currentTarget.value)} onKeyDown={p.onKeyDown}
      />
    </Frame>
  );
}

interface NumberProps extends Common {
  value: number | null; // null: the default
  onInput: (value: number | null) => void;
  min?: number;
  max?: number;
  step?: number | "any";
  placeholder?: string; // the default
  disabled?: boolean | undefined;
}

export function NumberField(p: NumberProps): JSX.Element {
  const id = useId();
  return (
    <Frame id={id} {...p}>
      <input
        id={id} class="input" type="number" inputmode="decimal" value={p.value ?? ""} min={p.min} max={p.max} step={p.step ?? "any"} placeholder={p.placeholder}
        disabled={p.disabled} aria-invalid={p.fault ? "true" : undefined} aria-describedby={described(id, p)}
        onInput={(e) => {
          const n = e.currentTarget.valueAsNumber;
          p.onInput(Number.isNaN(n) ? null : n);
        }}
      />
    </Frame>
  );
}

interface SelectProps<T extends string> extends Common {
  value: T;
  options: readonly {value: T; text: string; disabled?: boolean}[];
  onChange: (value: T) => void;
  disabled?: boolean | undefined;
}

export function Select<T extends string>(p: SelectProps<T>): JSX.Element {
  const id = useId();
  return (
    <Frame id={id} {...p}>
      <select
        id={id} class="input" value={p.value} disabled={p.disabled} aria-invalid={p.fault ? "true" : undefined} aria-describedby={described(id, p)}
        onChange={(e) => {
          const chosen = p.options[e.currentTarget.selectedIndex];
          if (chosen !== undefined) p.onChange(chosen.value);
        }}
      >
        {p.options.map((o) => (
          <option key={o.value} value={o.value} disabled={o.disabled}>{o.text}</option>
        ))}
      </select>
    </Frame>
  );
}

export function Checkbox(p: {label: string; checked: boolean; onChange: (checked: boolean) => void; hint?: ComponentChildren; disabled?: boolean}): JSX.Element {
  const id = useId();
  return (
    <div class="check">
      <input
        id={id} type="checkbox" checked={p.checked} disabled={p.disabled} aria-describedby={p.hint === undefined ? undefined : id + "-hint"}
        onChange={(e) => p.onChange(e.currentTarget.checked)}
      />
      <span>
        <label for={id}>{p.label}</label>
        {p.hint !== undefined && <span class="hint muted small" id={id + "-hint"}> {p.hint}</span>}
      </span>
    </div>
  );
}
