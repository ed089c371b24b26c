import type {ComponentChildren, JSX} from "preact";

type Kind = "plain" | "primary" | "danger" | "quiet";

interface Props {
  children?: ComponentChildren;
  kind?: Kind;
  small?: boolean;
  icon?: JSX.Element; // before the text; alone, it needs a label
  label?: string; // the accessible name, where the text does not say all
  onClick?: (event: MouseEvent) => void;
  disabled?: boolean | undefined;
  submit?: boolean;
  pressed?: boolean;
  expanded?: boolean;
  controls?: string;
}

export function Button(p: Props): JSX.Element {
  const only = p.icon !== undefined && p.children === undefined;
  return (
    <button
      type={p.submit ? "submit" : "button"}
      class={["button", p.kind ?? "plain", p.small ? "small" : "", only ? "icon" : ""].join(" ")}
      onClick={p.onClick}
      disabled={p.disabled}
      aria-label={p.label}
      title={only ? p.label : undefined}
      aria-pressed={p.pressed}
      aria-expanded={p.expanded}
      aria-controls={p.controls}
    >
      {p.icon}
      {p.children}
    </button>
  );
}
