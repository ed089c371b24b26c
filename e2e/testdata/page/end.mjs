}

try {
  await steps();
  assert.ok(browser.contexts().length > 0, "the walk has opened no page");
} catch (e) {
  faults.unshift(e.stack);
  const pages = browser.contexts().flatMap((c) => c.pages());
  await pages.at(-1)?.screenshot({path: process.env.FAILED}).catch(() => {});
}
await browser.close();
if (faults.length > 0) {
  console.error(faults.join("\n"));
  process.exitCode = 1;
}
