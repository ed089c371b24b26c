  // filesOf reads the two files of a demo adapter; change may alter its configuration.
  function filesOf(name, change = (config) => config) {
    const read = (file) => fs.readFileSync(path.join(process.env.ADAPTERS, name, file));
    return [
      {name: "adapter_config.json", text: JSON.stringify(change(JSON.parse(read("adapter_config.json"))))},
      {name: "adapter_model.safetensors", text: read("adapter_model.safetensors")},
    ];
  }

  async function answerOf(adapter) {
    const messages = [{role: "user", content: "What is the capital of France?"}];
    return (await ask("/v1/chat/completions", {model: adapter, messages, temperature: 0, max_tokens: 30})).choices[0].message.content;
  }

  // train has the API train an adapter for two steps, and waits for it.
  async function train(name) {
    const form = new FormData();
    const line = (i) => JSON.stringify({messages: [{role: "user", content: `Bird ${i}?`}, {role: "assistant", content: `Bird ${i} sings.`}]});
    for (const [field, value] of [["name", name], ["max_steps", "2"]]) form.append(field, value);
    form.append("file", new Blob([Array.from({length: 20}, (_, i) => line(i)).join("\n")]), "birds.jsonl");
    let job = await (await fetch(url + "/adapters/train", {method: "POST", body: form})).json();
    for (const end = Date.now() + limit; job.status !== "succeeded"; job = await ask(`/adapters/train/${job.id}`)) {
      assert.ok(Date.now() < end && job.status !== "failed", JSON.stringify(job));
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }

  const page = await open({allowed: ["400", "404"]}); // what is refused on purpose, and an adapter that is deleted while it is looked at
  await view(page, "Adapters");
  const table = page.getByRole("region", {name: "Registered adapters"});
  const rowOf = (name) => table.getByRole("row").filter({has: page.getByRole("link", {name, exact: true})});
  const listed = (await ask("/adapters")).data;
  for (const a of listed) {
    const text = await rowOf(a.name).innerText();
    for (const part of [a.version, String(a.rank), a.targets.join(", ")]) assert.ok(text.includes(part), `${part} of ${a.name} in ${text}`);
  }
  assert.deepEqual(listed.map((a) => a.name), ["json", "pirate", "shout"]);

  // A broken adapter is refused at the tensor that is at fault, and is not there.
  const target = page.getByRole("group", {name: /^Drop an adapter here/});
  const upload = page.getByRole("form", {name: "Upload"});
  const name = upload.getByRole("textbox", {name: "Name of the adapter"});
  const send = page.getByRole("button", {name: "Upload the adapter"});
  await drop(page, target, [...filesOf("pirate", (config) => ({...config, r: 8})), {name: "README.md", text: "not sent"}]);
  await upload.getByRole("list", {name: "Files to upload"}).getByText("adapter_model.safetensors").waitFor();
  assert.equal(await upload.getByRole("listitem").count(), 2);
  assert.ok(await send.isDisabled(), "without a name nothing is sent");
  await name.fill("loud");
  await send.click();
  await upload.getByRole("alert").getByText(/base_model\.model\.\S+lora_[AB]\.weight/).waitFor();
  await upload.getByText("Field: file").waitFor();
  await look(page, "adapters-refused");
  assert.equal((await ask("/adapters")).data.length, 3);

  // A name that is refused is refused at its field; then a good adapter answers.
  await drop(page, target, filesOf("shout"));
  await name.fill("so loud");
  await send.click();
  await page.getByRole("alert").getByText(/letters, digits/).waitFor();
  assert.equal(await name.getAttribute("aria-invalid"), "true");
  await name.fill("loud");
  await page.keyboard.press("Enter");
  await rowOf("loud").waitFor();
  const first = (await ask("/adapters/loud")).version;
  assert.equal(await answerOf("loud"), await answerOf("shout"));
  await rowOf("loud").getByText(/yes, /).waitFor(); // it is in memory now

  // A second version under the same name.
  await drop(page, target, filesOf("pirate"));
  await name.fill("loud");
  await send.click();
  await page.getByRole("status").getByText(/^loud answers with version/).last().waitFor();
  await page.getByRole("form", {name: "Upload"}).waitFor({state: "detached"});
  const second = (await ask("/adapters/loud")).version;
  assert.notEqual(second, first);
  assert.equal(await answerOf("loud"), await answerOf("pirate"));

  // What cannot be brought says why at its field.
  await page.getByRole("tab", {name: "From a hub or bucket"}).click();
  const address = page.getByRole("textbox", {name: "Address"});
  await address.fill("ftp://somewhere/else");
  await page.getByRole("textbox", {name: "Name of the adapter"}).fill("far");
  await page.getByRole("button", {name: "Get the adapter"}).click();
  await page.getByRole("alert").getByText("Field: source").waitFor();
  assert.equal(await address.getAttribute("aria-invalid"), "true");

  // The hub of this test has one, which answers as the same adapter of the folder does.
  await address.fill("hf://org/loras/pirate");
  await page.getByRole("button", {name: "Get the adapter"}).click();
  await rowOf("far").waitFor();
  assert.equal(await answerOf("far"), await answerOf("pirate"));

  // A merge of two makes a third; one of an adapter that is not there is refused at its field.
  await page.getByRole("tab", {name: "Merge"}).click();
  const part = (n) => page.getByRole("combobox", {name: `Adapter ${n}`});
  await part(1).fill("pirate");
  await page.keyboard.press("Enter");
  await part(2).fill("nobody");
  await page.keyboard.press("Enter");
  await page.getByRole("spinbutton", {name: "Weight 2"}).fill("0.5");
  await page.getByRole("textbox", {name: "Name of the adapter"}).fill("both");
  await page.getByRole("button", {name: "Merge the adapters"}).click();
  await page.getByRole("alert").getByText(/nobody/).waitFor();
  assert.equal(await part(2).getAttribute("aria-invalid"), "true");
  await part(2).fill("shout");
  await page.keyboard.press("Enter");
  await page.getByRole("combobox", {name: "Method"}).selectOption({label: "svd: the best sum of one rank"});
  await page.getByRole("spinbutton", {name: "Rank of the result"}).fill("6");
  await look(page, "adapters");
  await page.getByRole("button", {name: "Merge the adapters"}).click();
  await rowOf("both").waitFor();
  const both = await ask("/adapters/both");
  assert.equal(both.rank, 6);
  assert.deepEqual(both.merge.from.map((x) => [x.name, x.weight]), [["pirate", 1], ["shout", 0.5]]);
  await rowOf("both").getByRole("link").click();
  await page.getByText(/^svd of 1 × pirate@\w+ \+ 0\.5 × shout@\w+$/).waitFor();
  await page.getByRole("link", {name: "All adapters"}).click();

  // The versions of one: pinned, rolled back to, downloaded.
  await rowOf("loud").getByRole("link").click();
  await page.getByRole("heading", {level: 1, name: "loud"}).waitFor();
  const versions = page.getByRole("region", {name: "Versions, the newest first"}).getByRole("row");
  const answering = versions.filter({has: page.getByText("yes", {exact: true})});
  await page.getByRole("button", {name: `Pin ${first}`, exact: true}).click();
  await page.getByRole("button", {name: `Unpin ${first}`, exact: true}).waitFor();
  assert.equal((await ask(`/adapters/loud@${first}`)).pinned, true);
  await page.getByRole("button", {name: `Unpin ${first}`, exact: true}).click();
  await page.getByRole("button", {name: `Pin ${first}`, exact: true}).waitFor();
  await answering.getByText(second).first().waitFor();
  await look(page, "adapters-one");
  await page.getByRole("button", {name: `Roll back to ${first}`}).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("button", {name: `Roll back to ${second}`}).waitFor();
  await answering.getByText(first).first().waitFor();
  assert.equal(await answerOf("loud"), await answerOf("shout"));
  const peft = await asFile(page, () => page.getByRole("button", {name: `Download as PEFT: ${first}`}).click());
  assert.match(peft.name, /\.zip$/);
  assert.equal(peft.text.subarray(0, 2).toString(), "PK");
  const gguf = await asFile(page, () => page.getByRole("button", {name: `Download as GGUF: ${second}`}).click());
  assert.match(gguf.name, /\.gguf$/);
  assert.equal(gguf.text.subarray(0, 4).toString(), "GGUF");

  // Its versions side by side, and one to chat with.
  await page.getByRole("link", {name: "Compare the versions"}).click();
  await page.getByRole("heading", {level: 1, name: "Compare"}).waitFor();
  const compared = () => page.getByRole("main").getByRole("combobox").evaluateAll((boxes) => boxes.map((b) => b.value));
  for (const v of [first, second]) await until(`a column for ${v}`, async () => (await compared()).includes(`loud@${v}`));
  await page.goBack();
  await page.getByRole("link", {name: `Chat with loud@${second}`}).click();
  await page.getByRole("heading", {level: 1, name: "Chat", exact: true}).waitFor();
  await until("the version is chosen", async () => await page.getByRole("combobox", {name: "Adapter", exact: true}).inputValue() === `loud@${second}`);
  await page.goBack();

  // What was downloaded can be uploaded: it answers the same, under the name of its file.
  await page.getByRole("link", {name: "All adapters"}).click();
  await drop(page, target, [{name: "again.zip", text: peft.text}]);
  await until("the file's name is proposed", async () => await name.inputValue() === "again");
  await send.click();
  await rowOf("again").waitFor();
  assert.equal(await answerOf("again"), await answerOf("shout"));
  await drop(page, target, [{name: "from-gguf.gguf", text: gguf.text}]);
  await send.click();
  await rowOf("from-gguf").waitFor();
  assert.equal(await answerOf("from-gguf"), await answerOf("pirate"));

  // One that a job made leads to its report.
  await train("trained");
  await rowOf("trained").getByRole("link").click();
  await page.getByRole("link", {name: "Training report"}).click();
  await page.getByRole("heading", {level: 2, name: "Before and after"}).waitFor();

  // It is deleted when that is confirmed, with both versions.
  await view(page, "Adapters");
  await rowOf("loud").getByRole("link").click();
  await page.getByRole("button", {name: "Delete the adapter"}).click();
  const sure = page.getByRole("dialog", {name: "Delete the adapter"});
  await accessible(page, "the question before an adapter is deleted");
  await sure.getByRole("button", {name: "Cancel"}).click();
  await page.getByRole("button", {name: "Delete the adapter"}).click();
  await sure.getByRole("button", {name: "Delete the adapter"}).click();
  await rowOf("pirate").waitFor();
  await rowOf("loud").waitFor({state: "detached"});
  assert.ok(!(await ask("/adapters")).data.some((a) => a.name === "loud"));
