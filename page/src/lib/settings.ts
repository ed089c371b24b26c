import {createStore, useStore} from "./store.ts";

// What the reader chose for this page: kept by the browser, and never sent.

export type Language = "en" | "zh";
export type Theme = "system" | "light" | "dark";

export const languages: Record<Language, string> = {en: "English", zh: "中文"};

// remembered reads a choice; a browser may forbid storage, and then nothing is remembered.
function remembered(name: string): string | null {
  try {
    return localStorage.getItem("lorikeet." + name);
  } catch {
    return null;
  }
}

function remember(name: string, value: string): void {
  try {
    localStorage.setItem("lorikeet." + name, value);
  } catch {
    // It holds until the page is left.
  }
}

function firstLanguage(): Language {
  const kept = remembered("language");
  if (kept === "en" || kept === "zh") return kept;
  for (const tag of navigator.languages) {
    if (/^zh\b/i.test(tag)) return "zh";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "en";
}

function firstTheme(): Theme {
  const kept = remembered("theme");
  return kept === "light" || kept === "dark" ? kept : "system";
}

const language = createStore<Language>(firstLanguage());
const theme = createStore<Theme>(firstTheme());
const systemDark = matchMedia("(prefers-color-scheme: dark)");

// shown is the theme that the page has now.
const shown = createStore<"light" | "dark">("light");

function apply(): void {
  const chosen = theme.get();
  const now = chosen === "system" ? (systemDark.matches ? "dark" : "light") : chosen;
  document.documentElement.dataset.theme = now;
  document.documentElement.lang = language.get() === "zh" ? "zh-CN" : "en";
  shown.set(now);
}

// startSettings applies the choices to the document and follows the system's theme.
export function startSettings(): void {
  apply();
  systemDark.addEventListener("change", apply);
}

export function chooseLanguage(value: Language): void {
  remember("language", value);
  language.set(value);
  apply();
}

export function chooseTheme(value: Theme): void {
  remember("theme", value);
  theme.set(value);
  apply();
}

export const useLanguage = (): Language => useStore(language);
export const useTheme = (): Theme => useStore(theme);
export const useShownTheme = (): "light" | "dark" => useStore(shown);
export const currentLanguage = (): Language => language.get();
