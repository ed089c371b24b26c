import assert from "node:assert/strict";
import {test} from "node:test";
import type {ComponentChildren, VNode} from "preact";
import {markdown} from "../src/lib/markdown.ts";

// show writes elements as a text, in which what a model wrote stands between quotes.
function show(node: ComponentChildren): string {
  if (node === null || node === undefined || typeof node === "boolean") return "";
  if (Array.isArray(node)) return node.map(show).join("");
  if (typeof node !== "object") return `‹${String(node)}›`;
  const v = node as VNode<Record<string, unknown>>;
  const {children, ...props} = v.props;
  const said = Object.entries(props).map(([k, x]) => ` ${k}=${JSON.stringify(x)}`).join("");
  return `<${String(v.type)}${said}>${show(children as ComponentChildren)}</${String(v.type)}>`;
}

test("texts, lists, tables and code become elements", () => {
  for (const [text, want] of [
    ["a **b** *c* ~~d~~ `e<f`", "<p>‹a ›<strong>‹b›</strong>‹ ›<em>‹c›</em>‹ ›<del>‹d›</del>‹ ›<code>‹e<f›</code></p>"],
    ["# t\n\n> q", "<h1>‹t›</h1><blockquote><p>‹q›</p></blockquote>"],
    ["a\nb", "<p>‹a›<br></br>‹b›</p>"],
    ["- x\n- y", "<ul><li>‹x›</li><li>‹y›</li></ul>"],
    ["3. x\n4. y", '<ol start=3><li>‹x›</li><li>‹y›</li></ol>'],
    ["```py\n<b>\n```", '<pre tabIndex=0><code>‹<b>\n›</code></pre>'],
    ["|a|b|\n|-|:-:|\n|1|2|", '<table><thead><tr><th>‹a›</th><th style={"textAlign":"center"}>‹b›</th></tr></thead><tbody><tr><td>‹1›</td><td style={"textAlign":"center"}>‹2›</td></tr></tbody></table>'],
    ["a &amp; b &lt; &#8364; &nosuch; 1\\*2", "<p>‹a & b < € &nosuch; 1›‹*›‹2›</p>"],
  ] as const) assert.equal(show(markdown(text)), want);
});

test("nothing that a model writes is HTML, loads, or leads elsewhere than to the web", () => {
  const hostile = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a <b onclick=x>b</b>", "[x](javascript:alert(1))", "[x](data:text/html,y)", "![i](https://evil.example/i.png)",
    "<a href=\"javascript:alert(1)\">x</a>", "[x](vbscript:y)", "[x](JaVaScRiPt:y)", "<iframe src=//evil.example>", "<https://ok.example/?a=1&b=2>", "<style>*{}</style>", "[a]: javascript:x\n\n[a]",
  ];
  for (const text of hostile) {
    const got = show(markdown(text));
    const tags = [...got.matchAll(/(?:^|[>›])<([a-z0-9]+)([^>]*)>/g)];
    for (const [, tag, props] of tags) {
      assert.ok(["p", "a"].includes(tag ?? ""), `${text}: ${got}`);
      if (tag === "a") assert.match(props ?? "", /^ href="https:\/\/[^"]*" target="_blank" rel="noopener noreferrer nofollow"$/);
    }
  }
  assert.match(show(markdown("![i](https://evil.example/i.png)")), /<a href="https:\/\/evil.example\/i.png"/);
  assert.equal(show(markdown("<b>x</b>")), "<p>‹<b>›‹x›‹</b>›</p>");
});

test("what is nested without end is shown as text from some depth on", () => {
  const depthOf = (node: ComponentChildren): number => {
    if (Array.isArray(node)) return Math.max(0, ...node.map(depthOf));
    return typeof node === "object" && node !== null ? 1 + depthOf((node as VNode<{children?: ComponentChildren}>).props.children) : 0;
  };
  for (const text of [">".repeat(20000) + "x", "- ".repeat(3000) + "x", "> - ".repeat(300) + "x", "*".repeat(5000) + "x"]) {
    assert.ok(depthOf(markdown(text)) < 100, text.slice(0, 8));
  }
  assert.equal(depthOf(markdown("a")), 1, "the depth is counted anew for each text");
});
