import type {JSX} from "preact";
import {useMemo} from "preact/hooks";
import {markdown} from "../lib/markdown.ts";

// Markdown shows what a model wrote.
export function Markdown(p: {text: string}): JSX.Element {
  return <div class="markdown">{useMemo(() => markdown(p.text), [p.text])}</div>;
}
