// A colour of the eight series for each name, in the order in which names come, and a mark that tells them apart without
// colours: A, B, … Z, AA. They stay for as long as the page is open.

const seen = new Map<string, number>();

export interface Mark {
  letters: string;
  colour: string; // a value for CSS
}

export function markOf(name: string): Mark {
  let at = seen.get(name);
  if (at === undefined) {
    at = seen.size;
    seen.set(name, at);
  }
  return {letters: lettersOf(at), colour: `var(--series-${(at % 8) + 1})`};
}

// lettersOf numbers as columns of spreadsheets are: 0 is A, 25 Z, 26 AA.
export function lettersOf(n: number): string {
  let text = "";
  for (let rest = n; rest >= 0; rest = Math.floor(rest / 26) - 1) text = String.fromCharCode(65 + (rest % 26)) + text;
  return text;
}
