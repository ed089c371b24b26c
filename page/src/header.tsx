import type {JSX} from "preact";
import appIcon from "./app.svg";
import {words} from "./frame.words.ts";
import {openKeyDialog} from "./lib/key.ts";
import {link} from "./lib/router.ts";
import {chooseLanguage, chooseTheme, languages, useLanguage, useShownTheme, type Language} from "./lib/settings.ts";
import {useWords} from "./lib/words.ts";
import {Button} from "./parts/button.tsx";
import {icons} from "./parts/icons.tsx";
import {views} from "./views/index.ts";

// Header is the banner: the name, the navigation, and the reader's choices.
export function Header(p: {view: string}): JSX.Element {
  const w = useWords(words);
  const language = useLanguage();
  return (
    <header class="header">
      <div class="header-inner">
        <a class="brand" href={link(views[0]?.id ?? "")} aria-label={w.home}>
          <img src={appIcon} width="24" height="24" alt="" />
          <span>Lorikeet</span>
        </a>
        <nav class="nav" aria-label={w.navigation}>
          <ul>
            {views.map((v) => (
              <li key={v.id}>
                <a href={link(v.id)} aria-current={v.id === p.view ? "page" : undefined}>{v.title[language]}</a>
              </li>
            ))}
          </ul>
        </nav>
        <div class="tools">
          <Button kind="quiet" small icon={icons.key()} label={w.apiKey} onClick={openKeyDialog} />
          <ThemeButton />
          <LanguageButton />
        </div>
      </div>
    </header>
  );
}

// ThemeButton switches to the other theme; the system's is followed until then.
function ThemeButton(): JSX.Element {
  const w = useWords(words);
  const dark = useShownTheme() === "dark";
  return <Button kind="quiet" small icon={dark ? icons.sun() : icons.moon()} label={`${w.theme}: ${dark ? w.light : w.dark}`} onClick={() => chooseTheme(dark ? "light" : "dark")} />;
}

// LanguageButton names the other language in that language.
function LanguageButton(): JSX.Element {
  const other: Language = useLanguage() === "en" ? "zh" : "en";
  return <Button kind="quiet" small onClick={() => chooseLanguage(other)}><span lang={other === "zh" ? "zh-CN" : "en"}>{languages[other]}</span></Button>;
}
