  const page = await open({allowed: ["401"]});
  const dialog = page.getByRole("dialog", {name: "API key"});
  await dialog.waitFor();
  await accessible(page, "the dialog for the key");

  // A wrong key is asked for again, with the server's own words.
  await dialog.getByLabel("API key").fill("wrong");
  await page.keyboard.press("Enter");
  await dialog.getByText(/key/i).first().waitFor();
  await dialog.getByLabel("API key").fill("sesame");
  await page.keyboard.press("Enter");
  await dialog.waitFor({state: "hidden"});

  await page.getByRole("textbox", {name: "Message"}).fill("What is the capital of France?");
  await page.keyboard.press("Enter");
  await page.getByRole("article", {name: "Model"}).getByText(/first token/).waitFor();

  // It lives as long as the tab: a reload keeps it, another tab does not have it.
  await page.reload();
  await page.getByRole("combobox", {name: "Adapter", exact: true}).click();
  await page.getByRole("option", {name: /pirate/}).waitFor();
  const storage = await page.evaluate(() => [JSON.stringify({...localStorage}), document.cookie].join());
  assert.ok(!storage.includes("sesame"), "the key lies nowhere but in the session's storage");
  const other = await open({allowed: ["401"]});
  await other.getByRole("dialog", {name: "API key"}).waitFor();
