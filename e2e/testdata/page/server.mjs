  const page = await open();
  await view(page, "Server");
  const running = page.getByRole("table", {name: "Requests in the batch"});
  await page.getByText("No request runs.").waitFor();

  // Long answers of two adapters are seen in one batch while they run. One is asked for again when it has ended.
  const stop = new AbortController();
  const talk = async (adapter) => {
    const body = {model: adapter, messages: [{role: "user", content: "Tell me a very long story."}], temperature: 1, ignore_eos: true};
    while (!stop.signal.aborted) {
      const answer = await fetch(url + "/v1/chat/completions", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body), signal: stop.signal});
      assert.equal(answer.status, 200);
      await answer.text();
    }
  };
  const talks = ["pirate", "shout"].map((adapter) => talk(adapter).catch((e) => {
    if (!stop.signal.aborted) faults.push(e.stack);
  }));
  for (const adapter of ["pirate", "shout"]) await running.getByRole("rowheader", {name: new RegExp(adapter)}).waitFor();
  await page.getByRole("img", {name: /^2 of \d+ places are taken$/}).waitFor();
  await page.getByText(/KV cache/).first().waitFor();
  await look(page, "server");
  stop.abort();
  await Promise.all(talks);
  await page.getByText("No request runs.").waitFor();

  // The last requests come with what became of them and where their time went.
  const refused = await fetch(url + "/v1/chat/completions", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({model: "nobody", messages: []})});
  assert.ok(refused.status >= 400);
  await ask("/v1/chat/completions", {model: "json", messages: [{role: "user", content: "What is the capital of Spain?"}], max_tokens: 20});
  const requests = page.getByRole("table", {name: "Requests and their times"});
  await requests.getByRole("row", {name: /json.*200.*decode/}).first().waitFor();
  await requests.getByRole("row", {name: new RegExp(String(refused.status))}).first().waitFor();
  await page.getByRole("button", {name: "Pause updates"}).click();
  await page.getByRole("button", {name: "Update again"}).waitFor();
