// What every walk begins with: a browser, a page of the server under test, and the checks that hold on every view.
import {chromium} from "playwright-core";
import axe from "axe-core";
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";

const url = process.env.LORIKEET_URL;
const limit = 60_000; // ms for any one thing: the machine may be busy
const browser = await chromium.launch({executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]});
const faults = [];

// open opens the server's page in a context of its own.
async function open({width = 1280, height = 800, theme = "light", locale = "en-US", allowed = []} = {}) {
  const context = await browser.newContext({viewport: {width, height}, colorScheme: theme, locale, acceptDownloads: true, reducedMotion: "reduce"});
  context.setDefaultTimeout(limit);
  const page = await context.newPage();
  page.on("pageerror", (e) => faults.push(`error in the page: ${e.message}`));
  page.on("console", (m) => {
    // The browser itself writes down answers such as 401 and 404: a walk that causes them says so.
    if (m.type() === "error" && !allowed.some((text) => m.text().includes(text))) faults.push(`console: ${m.text()} (${m.location().url})`);
  });
  page.on("request", (r) => {
    const to = new URL(r.url());
    if (!["data:", "blob:"].includes(to.protocol) && to.origin !== url) faults.push(`a request to ${to.origin}`);
  });
  await page.goto(url + "/");
  await page.getByRole("main").waitFor();
  return page;
}

// view opens the view with that name by its link.
async function view(page, name) {
  await page.getByRole("navigation").getByRole("link", {name, exact: true}).click();
  await page.getByRole("heading", {level: 1, name, exact: true}).waitFor();
}

// accessible runs axe-core on what is shown now.
async function accessible(page, what) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, {resultTypes: ["violations"]}));
  for (const v of found.violations) {
    faults.push(`${what}: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(" ") + " " + (n.failureSummary ?? "")).join("; ").slice(0, 600)}`);
  }
}

// fits checks that nothing makes the page wider than the screen. Plots follow a changed screen a moment later.
async function fits(page, what) {
  const widths = () => page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  let [wide, screen] = await widths();
  for (const end = Date.now() + 5000; wide > screen && Date.now() < end; [wide, screen] = await widths()) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (wide > screen) faults.push(`${what}: ${wide} pixels wide on a screen of ${screen}`);
}

// look checks a view in both themes, of which it takes pictures where LORIKEET_SCREENSHOTS names a folder, and at phone width.
async function look(page, name) {
  const size = page.viewportSize();
  for (const close of process.env.LORIKEET_SCREENSHOTS ? await page.getByRole("button", {name: "Dismiss"}).all() : []) {
    await close.click({timeout: 1000}).catch(() => {}); // a notice that has gone by itself
  }
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({colorScheme: theme});
    await accessible(page, `${name}, ${theme}`);
    await page.evaluate(() => scrollTo(0, 0));
    if (process.env.LORIKEET_SCREENSHOTS) {
      await page.screenshot({path: path.join(process.env.LORIKEET_SCREENSHOTS, `${name}-${theme}.png`)});
    }
  }
  await page.emulateMedia({colorScheme: "light"});
  await page.setViewportSize({width: 320, height: 640});
  await fits(page, `${name} at phone width`);
  await accessible(page, `${name} at phone width`);
  await page.setViewportSize(size);
}

// ask asks the server's API, as the page does, for what the page should show.
async function ask(at, body, key) {
  const headers = {"Content-Type": "application/json", ...(key ? {Authorization: `Bearer ${key}`} : {})};
  const answer = await fetch(url + at, body === undefined ? {headers} : {method: "POST", headers, body: JSON.stringify(body)});
  assert.equal(answer.status, 200, `${at}: ${answer.status}`);
  return answer.json();
}

// until waits for a condition that no locator can say.
async function until(what, condition) {
  for (const end = Date.now() + limit; !await condition();) {
    assert.ok(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// asFile returns what a download saved.
async function asFile(page, click) {
  const [download] = await Promise.all([page.waitForEvent("download"), click()]);
  const to = path.join(process.env.DOWNLOADS, download.suggestedFilename());
  await download.saveAs(to);
  return {name: download.suggestedFilename(), text: fs.readFileSync(to)};
}

// drop drops files of the walk's own making, {name, text}, as a reader drags them from a folder.
async function drop(page, target, files) {
  const data = await page.evaluateHandle((list) => {
    const transfer = new DataTransfer();
    for (const f of list) transfer.items.add(new File([Uint8Array.from(atob(f.base64), (c) => c.charCodeAt(0))], f.name));
    return transfer;
  }, files.map((f) => ({name: f.name, base64: Buffer.from(f.text).toString("base64")})));
  for (const type of ["dragenter", "dragover", "drop"]) await target.dispatchEvent(type, {dataTransfer: data});
}

async function steps() {
