import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {words} from "./frame.words.ts";
import {closeKeyDialog, currentKey, keyDialog} from "./lib/key.ts";
import {useStore} from "./lib/store.ts";
import {useWords} from "./lib/words.ts";
import {Button} from "./parts/button.tsx";
import {Dialog} from "./parts/dialog.tsx";
import {TextField} from "./parts/field.tsx";
import {Notice} from "./parts/notice.tsx";

// KeyDialog asks for the API key, when the server wants one or the reader changes it.
export function KeyDialog(): JSX.Element {
  const w = useWords(words);
  const state = useStore(keyDialog);
  return (
    <Dialog title={w.keyTitle} open={state.open} onClose={() => closeKeyDialog(null)}>
      <KeyForm key={String(state.open)} message={state.message} intro={state.open && currentKey() === "" ? w.keyNeeded : w.keyKept} />
    </Dialog>
  );
}

function KeyForm(p: {message: string; intro: string}): JSX.Element {
  const w = useWords(words);
  const [key, setKey] = useState(currentKey());
  return (
    <form
      class="stack"
      onSubmit={(e) => {
        e.preventDefault();
        closeKeyDialog(key.trim());
      }}
    >
      {p.message !== "" && <Notice kind="bad">{p.message}</Notice>}
      <p>{p.intro}</p>
      <TextField label={w.apiKey} secret value={key} onInput={setKey} autoFocus />
      <div class="row">
        <Button kind="primary" submit disabled={key.trim() === ""}>{w.keySave}</Button>
        {currentKey() !== "" && <Button onClick={() => closeKeyDialog("")}>{w.keyForget}</Button>}
      </div>
    </form>
  );
}
