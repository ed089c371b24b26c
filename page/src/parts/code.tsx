import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {useWords} from "../lib/words.ts";
import {Button} from "./button.tsx";
import {icons} from "./icons.tsx";
import {announce} from "./notice.tsx";
import {words} from "./words.ts";

// copyText puts text on the clipboard. Pages that did not come over https or from localhost have no such interface:
// there the text is copied the old way.
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton(p: {text: string; label?: string}): JSX.Element {
  const w = useWords(words);
  const [done, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    if (!(await copyText(p.text))) return;
    setDone(true);
    announce(w.copied);
    setTimeout(() => setDone(false), 2000);
  };
  return <Button small kind="quiet" icon={icons.copy()} {...(p.label === undefined ? {} : {label: p.label})} onClick={() => void copy()}>{done ? w.copied : w.copy}</Button>;
}

// Code shows a text as it is, with a button that copies it.
export function Code(p: {text: string; label: string}): JSX.Element {
  return (
    <div class="code-block">
      <pre tabIndex={0} role="region" aria-label={p.label}>{p.text}</pre>
      <CopyButton text={p.text} />
    </div>
  );
}
