import type {JSX} from "preact";

interface Props {
  label: string;
  value: number; // of max
  max: number;
  text: string; // what the value means, such as "3 of 8"
  kind?: "good" | "warn" | "bad";
  meter?: boolean; // a quantity within bounds, such as memory, rather than a task
}

// Progress shows how far a task is; with meter, how much of a bound is used.
export function Progress(p: Props): JSX.Element {
  const part = p.max > 0 ? Math.min(1, Math.max(0, p.value / p.max)) : 0;
  return (
    <div class="progress">
      <div class="text" aria-hidden="true">
        <span>{p.label}</span>
        <span class="number muted">{p.text}</span>
      </div>
      <div class="track" role={p.meter ? "meter" : "progressbar"} aria-label={p.label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(part * 100)} aria-valuetext={p.text}>
        <div class={"fill " + (p.kind ?? "good")} style={{width: `${part * 100}%`}} />
      </div>
    </div>
  );
}
