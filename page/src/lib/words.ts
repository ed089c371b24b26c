import {currentLanguage, useLanguage, type Language} from "./settings.ts";

// A dictionary has the same keys in every language. A view keeps its own in words.ts:
//
//	const en = {title: "Chat", turns: (n: number) => `${n} turns`};
//	export const words: Words<typeof en> = {en, zh: {title: "对话", turns: (n) => `${n} 轮`}};
export type Words<T> = Record<Language, T>;

// useWords returns the dictionary in the reader's language.
export function useWords<T>(words: Words<T>): T {
  return words[useLanguage()];
}

// wordsNow is useWords for code outside of components.
export function wordsNow<T>(words: Words<T>): T {
  return words[currentLanguage()];
}
