import type {JSX} from "preact";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {TextArea} from "../../parts/field.tsx";
import {icons} from "../../parts/icons.tsx";
import {base, conversation, draft, say, settings, stop} from "./state.ts";
import {buildRequest} from "./request.ts";
import {words} from "./words.ts";

// Composer is where the reader writes.
export function Composer(): JSX.Element {
  const w = useWords(words);
  const text = useStore(draft);
  const {busy} = useStore(conversation);
  const {faults} = buildRequest(useStore(base), useStore(settings), []);
  const ready = text.trim() !== "" && !busy && Object.keys(faults).length === 0;
  const send = (): void => {
    if (!ready) return;
    draft.set("");
    void say(text);
  };
  return (
    <form
      class="composer"
      onSubmit={(e) => {
        e.preventDefault();
        send();
      }}
    >
      <div class="grow">
        <TextArea
          label={w.message} hideLabel value={text} rows={3} placeholder={w.placeholder} onInput={(v) => draft.set(v)}
          onKeyDown={(e) => {
            if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
              e.preventDefault();
              send();
            }
          }}
        />
      </div>
      {busy
        ? <Button icon={icons.stop()} onClick={stop}>{w.stop}</Button>
        : <Button kind="primary" submit icon={icons.send()} disabled={!ready}>{w.send}</Button>}
    </form>
  );
}
