import type {JSX} from "preact";
import {markOf} from "../lib/colours.ts";

// AdapterMark is a coloured square with letters: the same for the same adapters everywhere on the page. The name stands
// beside it, or is its title.
export function AdapterMark(p: {name: string; title?: string}): JSX.Element {
  const {letters, colour} = markOf(p.name);
  return (
    <span class="mark" style={{"--mark": colour}} title={p.title} {...(p.title === undefined ? {"aria-hidden": "true"} as const : {role: "img", "aria-label": p.title} as const)}>
      {letters}
    </span>
  );
}
