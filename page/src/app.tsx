import type {JSX} from "preact";
import {useEffect, useRef} from "preact/hooks";
import {words} from "./frame.words.ts";
import {Header} from "./header.tsx";
import {KeyDialog} from "./keydialog.tsx";
import {useRoute} from "./lib/router.ts";
import {useLanguage} from "./lib/settings.ts";
import {useWords} from "./lib/words.ts";
import {Announcer, Toasts} from "./parts/notice.tsx";
import {views} from "./views/index.ts";

// App is the frame around the view that the address names.
export function App(): JSX.Element {
  const w = useWords(words);
  const language = useLanguage();
  const id = useRoute().view || (views[0]?.id ?? "");
  const view = views.find((v) => v.id === id);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);

  useEffect(() => {
    document.title = view === undefined ? "Lorikeet" : `${view.title[language]} · Lorikeet`;
  }, [view, language]);
  useEffect(() => {
    if (first.current) first.current = false;
    else main.current?.focus(); // of whoever navigates by keyboard or hears the page
  }, [id]);

  const Current = view?.component;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => {
        e.preventDefault(); // the address is the view's
        main.current?.focus();
      }}>{w.skip}</a>
      <Header view={id} />
      <main id="main" class="main" tabIndex={-1} ref={main}>
        {Current === undefined ? <h1>{w.unknown}</h1> : <Current />}
      </main>
      <footer class="footer">
        <div class="footer-inner">
          <a href="/docs">{w.api}</a>
          <a href="/openapi.yaml">openapi.yaml</a>
          <a href="/page/licenses.txt">{w.licences}</a>
        </div>
      </footer>
      <KeyDialog />
      <Toasts />
      <Announcer />
    </>
  );
}
