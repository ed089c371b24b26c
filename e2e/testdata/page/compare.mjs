  const page = await open();
  await view(page, "Compare");
  const base = (await ask("/v1/models")).data.find((m) => m.parent === null).id;
  const answerOf = async (prompt, adapter) => {
    const body = {model: base, messages: [{role: "user", content: prompt}], temperature: 0, max_tokens: 40, ...(adapter === "" ? {} : {adapter})};
    return (await ask("/v1/chat/completions", body)).choices[0].message.content.trim();
  };

  // Four columns to begin with: the base and the first three adapters. Two more can be the same adapter's.
  await page.getByRole("combobox", {name: "Column 4"}).waitFor();
  for (const [i, name] of ["", "pirate", "shout", "json"].entries()) {
    const box = page.getByRole("combobox", {name: `Column ${i + 1}`});
    if (name === "") continue;
    await box.fill(name);
    await page.keyboard.press("Enter");
    assert.equal(await box.inputValue(), name);
  }
  await page.getByText("System prompt and sampling").click();
  await page.getByRole("spinbutton", {name: "Temperature"}).fill("0");
  await page.getByRole("spinbutton", {name: "Max tokens"}).fill("40");
  const question = "What is the capital of Italy?";
  await page.getByRole("textbox", {name: "Prompt", exact: true}).fill(question);
  await page.getByRole("button", {name: "Run"}).click();
  await page.getByText(/^4 answers, .* together$/).waitFor();

  // Each column has the answer that its adapter gives alone, and marks what the base did not say.
  for (const name of ["", "pirate", "shout", "json"]) {
    const cell = page.getByRole("article", {name: `Answer of ${name || "Base model"}`});
    assert.equal((await cell.locator(".cell-text").innerText()).trim(), await answerOf(question, name), name);
    await cell.getByText(/tokens\/s/).waitFor();
    if (name !== "") assert.ok(await cell.locator("ins").count() > 0, `${name} differs from the base, and it is marked`);
  }
  await look(page, "compare");

  // Several prompts, and their table as a file that a spreadsheet cannot run.
  await page.getByRole("tab", {name: "Several prompts"}).click();
  const prompts = ["What is the capital of Spain?", "=1+1 is what?"];
  await page.getByRole("textbox", {name: "Prompts", exact: true}).fill(prompts.join("\n"));
  await page.getByRole("button", {name: "Run"}).click();
  await page.getByText(/^8 answers, .* together$/).waitFor();
  const table = page.getByRole("table");
  const line = table.getByRole("row", {name: new RegExp("^" + prompts[0].replace("?", "\\?"))});
  assert.ok((await line.getByRole("cell").nth(1).innerText()).startsWith(await answerOf(prompts[0], "pirate")));
  await accessible(page, "the table of several prompts");
  const file = await asFile(page, () => page.getByRole("button", {name: "Export as CSV"}).click());
  assert.equal(file.name, "comparison.csv");
  const text = file.text.toString();
  assert.ok(text.includes(await answerOf(prompts[0], "shout")), text);
  assert.ok(!/(^|[,"\n])=1\+1/m.test(text), "a cell does not begin with =: " + text);
