import {Lexer, type Token, type Tokens} from "marked";
import {h, type ComponentChildren} from "preact";

// Markdown as elements of the page. What a model writes is somebody else's text, so nothing of it is ever read as HTML: tags
// are shown as the text that they are, but for a line break. A link opens beside the page without telling where it came
// from, and other addresses than those of the web and of mail are no links. Images are links: nothing loads by itself.

export function markdown(text: string): ComponentChildren {
  depth = 0;
  try {
    return blocks(Lexer.lex(text, {gfm: true, breaks: true}));
  } catch (error) {
    if (error instanceof RangeError) return h("pre", {tabIndex: 0}, text); // nested deeper than the browser's stack
    throw error;
  }
}

// deepest is how deep lists, quotes and emphasis are shown within each other; below it stands the text as it was written.
const deepest = 40;
let depth = 0; // of the token whose element is being made

const blocks = (tokens: Token[] | undefined): ComponentChildren[] => {
  depth++;
  const made = (tokens ?? []).map((t) => (depth > deepest ? t.raw : one(t)));
  depth--;
  return made;
};

// one makes the element of a token. marked's type of tokens has no discriminant, hence the casts.
function one(t: Token): ComponentChildren {
  const inner = (): ComponentChildren[] => blocks((t as Tokens.Generic).tokens);
  switch (t.type) {
    case "paragraph": return h("p", null, inner());
    case "heading": return h(`h${(t as Tokens.Heading).depth}`, null, inner());
    case "blockquote": return h("blockquote", null, inner());
    case "code": return h("pre", {tabIndex: 0}, h("code", null, (t as Tokens.Code).text + "\n"));
    case "hr": return h("hr", null);
    case "list": return list(t as Tokens.List);
    case "table": return table(t as Tokens.Table);
    case "strong": return h("strong", null, inner());
    case "em": return h("em", null, inner());
    case "del": return h("del", null, inner());
    case "codespan": return h("code", null, (t as Tokens.Codespan).text);
    case "br": return h("br", null);
    case "link": return link((t as Tokens.Link).href, inner());
    case "image": return link((t as Tokens.Image).href, entities((t as Tokens.Image).text) || (t as Tokens.Image).href);
    case "space": case "def": return null;
    case "html": return /^<br\s*\/?>\s*$/i.test(t.raw) ? h("br", null) : t.raw;
    case "escape": return (t as Tokens.Escape).text;
    case "text": return (t as Tokens.Text).tokens === undefined ? entities((t as Tokens.Text).text) : inner();
    default: return t.raw;
  }
}

function link(href: string, children: ComponentChildren): ComponentChildren {
  if (!/^(?:https?:|mailto:)/i.test(href)) return children;
  return h("a", {href, target: "_blank", rel: "noopener noreferrer nofollow"}, children);
}

function list(t: Tokens.List): ComponentChildren {
  const items = t.items.map((item) => h("li", null, item.task ? (item.checked ? "☑ " : "☐ ") : null, blocks(item.tokens.filter((x) => x.type !== "checkbox"))));
  return t.ordered ? h("ol", {start: Number(t.start) || 1}, items) : h("ul", null, items);
}

function table(t: Tokens.Table): ComponentChildren {
  const line = (cells: Tokens.TableCell[], tag: "th" | "td"): ComponentChildren =>
    h("tr", null, cells.map((c) => h(tag, c.align === null ? null : {style: {textAlign: c.align}}, blocks(c.tokens))));
  return h("table", null, h("thead", null, line(t.header, "th")), h("tbody", null, t.rows.map((r) => line(r, "td"))));
}

const known: Record<string, string> = {amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", mdash: "—", ndash: "–", hellip: "…", times: "×", deg: "°"};

// entities reads the entities that models write; others stay as they are.
function entities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]+));/gi, (all, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return known[name] ?? all;
    const code = decimal === undefined ? parseInt(hex ?? "", 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });
}
