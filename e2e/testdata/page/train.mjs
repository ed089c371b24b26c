  const page = await open();
  await view(page, "Train");
  const place = page.getByRole("group", {name: /^Drop a file with examples/});
  const examples = fs.readFileSync(process.env.DATASET, "utf8");

  // A file with faults is shown with its bad lines, and cannot be learned from.
  await drop(page, place, [{name: "broken.jsonl", text: examples.split("\n").slice(0, 5).join("\n") + '\n{"messages": "none"}\n{not JSON\n'}]);
  const faults = page.getByRole("table", {name: /^Bad lines in/});
  await faults.getByRole("rowheader", {name: "6"}).waitFor();
  await faults.getByRole("rowheader", {name: "7"}).waitFor();
  await accessible(page, "bad lines");
  await page.getByRole("button", {name: "Discard the file"}).click();

  // A good one is previewed as the template prints it, with what is learned marked.
  await drop(page, place, [{name: "support.jsonl", text: examples}]);
  const example = page.getByRole("group", {name: /^Line 1/});
  await example.waitFor();
  const learned = (await example.locator("mark").allInnerTexts()).join("");
  assert.ok(learned.includes("Thanks for writing to Copperfin! We sell tents"), learned);
  assert.ok(!learned.includes("what things can I buy"), learned);
  await page.getByText(/JSON Lines|JSON,/).first().waitFor();

  // A setting changes what the job costs.
  assert.equal(await page.getByRole("textbox", {name: "Name of the adapter"}).inputValue(), "support");
  await page.getByText("More settings").click();
  await page.getByRole("spinbutton", {name: "Most steps"}).fill("60");
  await page.getByRole("spinbutton", {name: "Steps between checkpoints"}).fill("20");
  await page.getByText(/^60, /).waitFor();
  await look(page, "train");
  await page.getByRole("button", {name: "Start training"}).click();

  // The job is followed while it runs, held, and goes on.
  await page.getByRole("heading", {level: 1, name: "support"}).waitFor();
  await page.getByRole("img", {name: /^Loss by steps/}).waitFor();
  await page.getByRole("button", {name: "Pause"}).click();
  await page.getByRole("button", {name: "Resume"}).waitFor();
  await accessible(page, "a paused job");
  await page.getByRole("button", {name: "Resume"}).click();
  await page.getByText("succeeded", {exact: true}).waitFor();
  const report = page.getByRole("region", {name: "Before and after"});
  await report.getByRole("rowheader", {name: "Loss"}).waitFor();
  const [before, after] = (await report.getByRole("row", {name: /^Loss/}).getByRole("cell").allInnerTexts()).map(Number);
  assert.ok(after < before / 2, `loss ${before} before and ${after} after`);
  const checkpoints = page.getByRole("table", {name: "Checkpoints"});
  assert.ok(await checkpoints.getByRole("row").count() >= 2);
  await look(page, "job");

  // What it made answers in the chat.
  await page.getByRole("link", {name: /^Chat with support@/}).last().click();
  await page.getByRole("heading", {level: 1, name: "Chat"}).waitFor();
  await until("its adapter is chosen", async () => (await page.getByRole("combobox", {name: "Adapter", exact: true}).inputValue()).startsWith("support@"));
  await page.getByRole("spinbutton", {name: "Temperature"}).fill("0");
  await page.getByRole("textbox", {name: "Message"}).fill("How long until you deliver?");
  await page.keyboard.press("Enter");
  await page.getByRole("article", {name: "Model"}).getByText(/Thanks for writing to Copperfin/).waitFor();

  // A second job stands beside the first in one plot, is cancelled and deleted.
  await view(page, "Train");
  await drop(page, place, [{name: "again.jsonl", text: examples}]);
  await page.getByRole("group", {name: /^Line 1/}).waitFor();
  await page.getByText(/^about /).waitFor(); // the first job's speed is known now
  await page.getByRole("button", {name: "Start training"}).click();
  await page.getByRole("heading", {level: 1, name: "again"}).waitFor();
  await page.getByRole("img", {name: /^Loss by steps/}).waitFor();
  await page.getByRole("link", {name: "All jobs"}).click();
  await page.getByRole("img", {name: /^Loss by steps.*support.*|^Loss by steps.*again.*/}).waitFor();
  for (const name of ["support", "again"]) await until(`${name} is drawn`, () => page.getByRole("checkbox", {name: `Draw ${name}`}).isChecked());
  await look(page, "jobs");
  await page.getByRole("table", {name: "Training jobs"}).getByRole("link", {name: "again"}).click();
  await page.getByRole("button", {name: "Cancel the job"}).click();
  const sure = page.getByRole("dialog", {name: "Cancel the job"});
  await accessible(page, "the question before a job is cancelled");
  await sure.getByRole("button", {name: "Cancel the job"}).click();
  await page.getByText("cancelled", {exact: true}).waitFor();
  await page.getByRole("button", {name: "Delete the job"}).click();
  await page.getByRole("dialog", {name: "Delete the job"}).getByRole("button", {name: "Delete the job"}).click();
  await page.getByRole("heading", {level: 1, name: "Train"}).waitFor();
  assert.equal(await page.getByRole("table", {name: "Training jobs"}).getByRole("link", {name: "again"}).count(), 0);
