import type {ComponentChildren, JSX} from "preact";
import {useRef} from "preact/hooks";
import {markdown} from "../lib/markdown.ts";

// slow is how many milliseconds may be spent on a text that grows, each time that it has grown.
const slow = 30;

interface Made {
  text: string;
  elements: ComponentChildren;
  took: number;
}

// Markdown shows what a model wrote. While the text grows (growing) and takes long to read, what is new stands below as
// it is, and all of it is read at the end.
export function Markdown(p: {text: string; growing?: boolean}): JSX.Element {
  const last = useRef<Made>({text: "", elements: null, took: 0});
  const behind = p.growing === true && last.current.took > slow && p.text.startsWith(last.current.text);
  if (!behind && p.text !== last.current.text) {
    const began = performance.now();
    const elements = markdown(p.text);
    last.current = {text: p.text, elements, took: performance.now() - began};
  }
  const {text, elements} = last.current;
  return (
    <div class="markdown">
      {elements}
      {p.text.length > text.length && <p class="as-written">{p.text.slice(text.length)}</p>}
    </div>
  );
}
