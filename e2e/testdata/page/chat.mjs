  const page = await open({allowed: ["404"]}); // an adapter that is not there is asked for at the end
  const message = page.getByRole("textbox", {name: "Message"});
  const answers = page.getByRole("article", {name: "Model"});
  const question = "What is the capital of France?";
  const base = (await ask("/v1/models")).data.find((m) => m.parent === null).id;
  const expected = async (more) => {
    const answer = await ask("/v1/chat/completions", {model: base, messages: [{role: "user", content: question}], temperature: 0, max_tokens: 60, ...more});
    return answer.choices[0].message.content.trim();
  };
  // The text of the nth answer when it is complete, without the lines about it.
  const answered = async (n) => {
    const turn = answers.nth(n);
    await turn.getByRole("button", {name: "Answer again"}).waitFor();
    return (await turn.locator(".markdown").innerText()).trim();
  };

  await page.getByRole("spinbutton", {name: "Temperature"}).fill("0");
  await page.getByRole("spinbutton", {name: "Max tokens"}).fill("60");
  await message.fill(question);
  await page.keyboard.press("Enter");
  assert.equal(await answered(0), await expected({}));
  await answers.first().getByText(/tokens\/s/).waitFor();

  // An adapter that is chosen by keyboard answers as itself.
  await page.getByRole("button", {name: "New chat"}).click();
  const adapter = page.getByRole("combobox", {name: "Adapter", exact: true});
  await adapter.fill("pir");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  assert.equal(await adapter.inputValue(), "pirate");
  await message.fill(question);
  await page.getByRole("button", {name: "Send"}).click();
  const pirate = await expected({adapter: "pirate"});
  assert.equal(await answered(0), pirate);
  assert.notEqual(pirate, await expected({}));

  // The same request as code.
  await page.getByRole("button", {name: "As code"}).click();
  const code = page.getByRole("dialog", {name: "The same request as code"});
  await code.getByText("/v1/chat/completions").first().waitFor();
  assert.match(await code.innerText(), /pirate/);
  await code.getByRole("tab", {name: "Python"}).click();
  assert.match(await code.innerText(), /from openai import OpenAI/);
  await accessible(page, "the request as code");
  await page.keyboard.press("Escape");

  // A sum of two adapters, each with its scale.
  await page.getByRole("spinbutton", {name: "Scale", exact: true}).fill("0.5");
  await page.getByRole("button", {name: "Add to the sum"}).click();
  await page.getByRole("combobox", {name: "Adapter 2"}).fill("shout");
  await page.keyboard.press("Enter");
  await page.getByRole("spinbutton", {name: "Scale 2"}).fill("0.5");
  await answers.first().getByRole("button", {name: "Answer again"}).click();
  await answers.first().getByText("shout").waitFor();
  assert.equal(await answered(0), await expected({adapter: [{name: "pirate", scale: 0.5}, {name: "shout", scale: 0.5}]}));

  // A changed question, a system prompt, and an answer that is stopped.
  await page.getByRole("button", {name: "Remove adapter 2"}).click();
  await page.getByRole("textbox", {name: "System prompt"}).fill("You are brief.");
  await page.getByRole("article", {name: "You"}).getByRole("button", {name: "Edit"}).click();
  await page.getByRole("textbox", {name: "Your message"}).fill("Count to one thousand.");
  await page.getByRole("spinbutton", {name: "Max tokens"}).fill("");
  await page.getByRole("button", {name: "Send the changed message"}).click();
  await answers.first().getByRole("button", {name: "Answer again"}).waitFor();
  assert.equal(await page.getByRole("article", {name: "You"}).count(), 1, "what followed the changed message is gone");
  await look(page, "chat");

  // A function that must be called, what it returns, and an answer that is held to a schema.
  await page.getByRole("button", {name: "New chat"}).click();
  await page.getByRole("button", {name: "Reset settings"}).click();
  await page.getByText("More settings", {exact: true}).click();
  await page.getByRole("button", {name: "Insert an example"}).click();
  await page.getByRole("combobox", {name: "Tool choice"}).selectOption({label: "It must call one"});
  await page.getByRole("spinbutton", {name: "Max tokens"}).fill("80");
  await message.fill("How is the weather in Paris?");
  await page.keyboard.press("Enter");
  await answers.first().getByText("Calls weather").waitFor();
  await page.getByRole("textbox", {name: "Result of call 1, weather"}).fill('{"sky": "blue"}');
  await page.getByRole("combobox", {name: "Tool choice"}).selectOption({label: "None"});
  await page.getByRole("button", {name: "Send the results"}).click();
  await page.getByRole("article", {name: "Result of weather"}).getByText("blue").waitFor();
  await answers.nth(1).getByRole("button", {name: "Answer again"}).waitFor();
  await accessible(page, "a call and its result");
  await page.getByRole("button", {name: "New chat"}).click();
  await page.getByRole("button", {name: "Reset settings"}).click();
  await page.getByRole("combobox", {name: "Answer format"}).selectOption({label: "JSON by a schema"});
  await message.fill(question);
  await page.keyboard.press("Enter");
  assert.equal(typeof JSON.parse(await answered(0)).answer, "string");

  // An answer that would not end soon is stopped, and what had come of it stays.
  await page.getByRole("combobox", {name: "Answer format"}).selectOption({label: "Text"});
  await page.getByRole("spinbutton", {name: "Temperature"}).fill("2");
  await message.fill("Tell me everything about all countries.");
  for (let tries = 0; ; tries++) {
    await page.keyboard.press("Enter");
    const stop = page.getByRole("button", {name: "Stop"});
    if (await stop.click({timeout: 2000}).then(() => true, () => false)) break;
    assert.ok(tries < 20, "no answer took long enough to be stopped");
    await message.fill("Tell me everything about all countries.");
    await message.focus();
  }
  await answers.last().getByText("Stopped.").waitFor();
  await answers.last().getByRole("button", {name: "Answer again"}).waitFor();

  // What the server refuses is shown in its own words, with the field.
  await adapter.fill("nobody");
  await page.keyboard.press("Enter");
  await message.fill(question);
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText(/nobody/).waitFor();
