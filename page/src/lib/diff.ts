import {diffWords} from "diff";

// A Piece is a part of a text: the same as in another text, or not in it; missing pieces are in the other one alone.
export interface Piece {
  text: string;
  kind: "same" | "added" | "missing";
}

// longest is how many changed words are looked for; two texts that have more in them have little in common.
const longest = 1500;

// compareTexts divides text into the words that it shares with first and those that it does not. Languages without spaces
// are divided by the browser's own dictionary. The pieces that are not missing make up the text.
export function compareTexts(first: string, text: string): Piece[] {
  if (first === text) return text === "" ? [] : [{text, kind: "same"}];
  const changes = diffWords(first, text, {maxEditLength: longest, intlSegmenter: new Intl.Segmenter(undefined, {granularity: "word"})});
  if (changes === undefined) return [{text: first, kind: "missing"}, {text, kind: "added"}];
  return changes.map((c) => ({text: c.value, kind: c.added ? "added" : c.removed ? "missing" : "same"}));
}

// share is how much of a text, by its characters, is the same as in the first one: from 0 to 1.
export function share(pieces: Piece[]): number {
  let same = 0;
  let all = 0;
  for (const p of pieces) {
    if (p.kind === "missing") continue;
    all += p.text.length;
    if (p.kind === "same") same += p.text.length;
  }
  return all === 0 ? 0 : same / all;
}
