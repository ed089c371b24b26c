  const page = await open();
  const views = page.getByRole("navigation").getByRole("link");
  assert.ok(await views.count() >= 1);

  // By keyboard alone: the first key leads over the navigation, Enter follows a link.
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", {name: "Skip to the content"});
  assert.ok(await skip.evaluate((e) => e === document.activeElement), "the first thing to reach is the link over the navigation");
  await page.keyboard.press("Enter");
  assert.ok(await page.evaluate(() => document.querySelector("main").contains(document.activeElement)), "it leads into the content");
  for (let i = 0; i < await views.count(); i++) {
    const name = await views.nth(i).innerText();
    await views.nth(i).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", {level: 1, name, exact: true}).waitFor();
    assert.equal(await views.nth(i).getAttribute("aria-current"), "page");
    await until(`the title names ${name}`, async () => (await page.title()).includes(name));
  }
  for (const role of ["banner", "navigation", "main"]) assert.equal(await page.getByRole(role).count(), 1, `one landmark ${role}`);

  // A theme that the reader chose stays, whatever the system's is, and so does the language.
  await page.getByRole("button", {name: "Colours: Dark"}).click();
  await page.reload();
  await page.getByRole("button", {name: "Colours: Light"}).waitFor();
  await accessible(page, "chosen dark theme");
  await page.getByRole("button", {name: "中文"}).click();
  await page.getByRole("heading", {level: 1}).waitFor();
  assert.equal(await page.locator("html").getAttribute("lang"), "zh-CN");
  await page.reload();
  await page.getByRole("button", {name: "English"}).waitFor();
  for (let i = 0; i < await views.count(); i++) {
    await views.nth(i).click();
    await page.getByRole("heading", {level: 1}).waitFor();
    await accessible(page, `view ${i} in Chinese`);
    const english = (await page.getByRole("main").innerText()).split("\n").filter((line) => /^[A-Z][a-z]+( [a-z]+){3,}\.?$/.test(line.trim()));
    assert.deepEqual(english, [], `view ${i} in Chinese has English sentences`);
  }

  // A browser whose language is Chinese begins in it.
  const chinese = await open({locale: "zh-CN", theme: "dark"});
  await chinese.getByRole("button", {name: "English"}).waitFor();

  // Nothing is allowed from elsewhere, nor inline.
  const answer = await fetch(url + "/", {headers: {Accept: "text/html"}});
  const policy = answer.headers.get("Content-Security-Policy");
  for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"]) assert.ok(policy.includes(part), `${part} in ${policy}`);
  assert.ok(!policy.includes("unsafe"), policy);
  const html = await answer.text();
  assert.ok(!/<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=/.test(html), html);
