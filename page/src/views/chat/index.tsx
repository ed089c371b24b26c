import type {JSX} from "preact";
import {useEffect, useState} from "preact/hooks";
import {useModels} from "../../lib/adapters.ts";
import {useRoute} from "../../lib/router.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {Button} from "../../parts/button.tsx";
import {icons} from "../../parts/icons.tsx";
import {ErrorNotice} from "../../parts/notice.tsx";
import "./chat.css";
import {Composer} from "./composer.tsx";
import {Panel} from "./panel.tsx";
import {RequestDialog} from "./requestdialog.tsx";
import {base, clear, conversation, settings} from "./state.ts";
import {Turns} from "./turns.tsx";
import {words} from "./words.ts";

// Chat is a conversation with the base model or with adapters. The address may name one: #/chat?adapter=terse@1a2b.
export function Chat(): JSX.Element {
  const w = useWords(words);
  const models = useModels();
  const {turns} = useStore(conversation);
  const [code, setCode] = useState(false);
  const [panel, setPanel] = useState(false); // on a narrow screen
  const list = models.data ?? [];
  const baseID = list.find((m) => m.parent === null)?.id ?? "";
  useEffect(() => {
    if (baseID !== "") base.set(baseID);
  }, [baseID]);
  const asked = useRoute().query.get("adapter");
  useEffect(() => {
    if (asked !== null) settings.update((s) => ({...s, adapters: [{name: asked, scale: null}]}));
  }, [asked]);

  return (
    <div class="chat">
      <div class="chat-head row spread">
        <h1>{w.title}</h1>
        <div class="row">
          <Button small icon={icons.add()} onClick={clear} disabled={turns.length === 0}>{w.newChat}</Button>
          <Button small onClick={() => setCode(true)}>{w.showRequest}</Button>
          <span class="chat-toggle">
            <Button small icon={icons.settings()} expanded={panel} controls="chat-panel" onClick={() => setPanel(!panel)}>{w.settings}</Button>
          </span>
        </div>
      </div>
      <aside class={panel ? "chat-panel card open" : "chat-panel card"} id="chat-panel" aria-label={w.settings}>
        <Panel models={list} />
      </aside>
      <section class="chat-talk" aria-label={w.conversation}>
        <ErrorNotice error={models.error} onRetry={models.reload} />
        {turns.length === 0 ? <p class="empty">{w.empty}</p> : <Turns turns={turns} />}
        <Composer />
      </section>
      <RequestDialog open={code} onClose={() => setCode(false)} />
    </div>
  );
}
