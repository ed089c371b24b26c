import type {components} from "../../lib/schema.gen.ts";

export type Event = components["schemas"]["TrainingEvent"];

export interface Followed {
  events: Event[];
  done: boolean; // there will be no more
}

export const none: Followed = {events: [], done: false};

// addEvents adds events that are not there yet: after a reconnection all come again.
export function addEvents(old: Followed, fresh: Event[], done: boolean): Followed {
  const last = old.events.at(-1)?.seq ?? 0;
  const added = fresh.filter((e) => e.seq > last);
  return added.length === 0 && done === old.done ? old : {events: [...old.events, ...added], done};
}

export interface Point {
  step: number;
  loss: number | null;
  valid: number | null;
  rate: number | null;
  speed: number | null;
}

// curveOf are the numbers of the steps. A run that was interrupted does a step again: the later one counts.
export function curveOf(events: Event[]): Point[] {
  const points = new Map<number, Point>();
  for (const {data} of events) {
    if (data === undefined || data === null) continue;
    const p = points.get(data.step) ?? {step: data.step, loss: null, valid: null, rate: null, speed: null};
    if (typeof data.valid_loss === "number") p.valid = data.valid_loss;
    else Object.assign(p, {loss: data.train_loss, rate: data.learning_rate, speed: data.tokens_per_second});
    points.set(data.step, p);
  }
  return [...points.values()].sort((a, b) => a.step - b.step);
}

export interface Line {
  name: string;
  points: {step: number; value: number | null}[];
}

// align puts lines over a common x, with null where one has no value.
export function align(lines: Line[]): {x: number[]; series: {name: string; values: (number | null)[]}[]} {
  const x = [...new Set(lines.flatMap((l) => l.points.map((p) => p.step)))].sort((a, b) => a - b);
  return {
    x,
    series: lines.map((l) => {
      const at = new Map(l.points.map((p) => [p.step, p.value]));
      return {name: l.name, values: x.map((step) => at.get(step) ?? null)};
    }),
  };
}
