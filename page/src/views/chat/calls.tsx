import type {JSX} from "preact";
import {useState} from "preact/hooks";
import type {Answer} from "../../lib/completion.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {TextArea} from "../../parts/field.tsx";
import {giveResults} from "./state.ts";
import {words} from "./words.ts";

// Calls shows which functions the model calls. At the end of the conversation the reader says what they return.
export function Calls(p: {answer: Answer; asking: boolean}): JSX.Element {
  const w = useWords(words);
  const [results, setResults] = useState<string[]>([]);
  const set = (i: number, text: string): void => setResults((list) => p.answer.calls.map((_, k) => (k === i ? text : list[k] ?? "")));
  return (
    <div class="stack tight">
      {p.answer.calls.map((c, i) => (
        <div key={i} class="call">
          <strong>{w.call(c.name)}</strong>
          <pre>{pretty(c.arguments)}</pre>
        </div>
      ))}
      {p.asking && (
        <form
          class="stack tight" aria-label={w.results}
          onSubmit={(e) => {
            e.preventDefault();
            void giveResults(p.answer, results);
          }}
        >
          {p.answer.calls.map((c, i) => (
            <TextArea key={i} label={w.resultOf(c.name, i + 1)} value={results[i] ?? ""} rows={2} code onInput={(v) => set(i, v)} />
          ))}
          <div class="row"><Button small kind="primary" submit>{w.sendResults}</Button></div>
        </form>
      )}
    </div>
  );
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json; // as far as it has come
  }
}
