import type {JSX} from "preact";
import {useMemo} from "preact/hooks";
import DOMPurify from "dompurify";
import {marked} from "marked";

// What a model writes is somebody else's text: only the elements that markdown makes remain, nothing loads from elsewhere,
// and a link opens beside the page without telling where it came from.
const allowed = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "em", "strong", "del", "code", "pre", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "a",
    "table", "thead", "tbody", "tr", "th", "td", "sup", "sub",
  ],
  ALLOWED_ATTR: ["href", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
});

export function markdownToHTML(text: string): string {
  return DOMPurify.sanitize(marked.parse(text, {async: false, gfm: true, breaks: true}), allowed);
}

export function Markdown(p: {text: string}): JSX.Element {
  const html = useMemo(() => markdownToHTML(p.text), [p.text]);
  return <div class="markdown" dangerouslySetInnerHTML={{__html: html}} />;
}
