import type {JSX} from "preact";
import {useState} from "preact/hooks";
import {currentKey} from "../../lib/key.ts";
import {asCurl, asPython} from "../../lib/snippets.ts";
import {useStore} from "../../lib/store.ts";
import {useWords} from "../../lib/words.ts";
import {Code} from "../../parts/code.tsx";
import {Dialog} from "../../parts/dialog.tsx";
import {Tabs} from "../../parts/tabs.tsx";
import {buildRequest, type Turn} from "./request.ts";
import {base, conversation, draft, settings} from "./state.ts";
import {words} from "./words.ts";

// RequestDialog shows the next request, or where nothing is written yet the last one, for other programs.
export function RequestDialog(p: {open: boolean; onClose: () => void}): JSX.Element {
  const w = useWords(words);
  const [tab, setTab] = useState<"curl" | "python">("curl");
  const text = useStore(draft);
  const {turns} = useStore(conversation);
  const {request} = buildRequest(useStore(base), useStore(settings), asked(turns, text));
  const snippet = {url: location.origin, key: currentKey() !== "", body: {...request, stream: true}};
  return (
    <Dialog title={w.requestTitle} open={p.open} onClose={p.onClose} wide>
      <Tabs label={w.requestTitle} tabs={[{id: "curl", text: w.curl}, {id: "python", text: w.python}]} chosen={tab} onChoose={setTab}>
        <Code label={tab === "curl" ? w.curl : w.python} text={tab === "curl" ? asCurl(snippet) : asPython(snippet)} />
      </Tabs>
    </Dialog>
  );
}

// asked are the turns of the request that is shown.
function asked(turns: Turn[], text: string): Turn[] {
  if (text.trim() !== "" || turns.length === 0) return [...turns, {id: 0, role: "user", text: text.trim() === "" ? "…" : text}];
  const last = turns.findLastIndex((t) => t.role !== "assistant");
  return turns.slice(0, last + 1);
}
