import type {JSX} from "preact";
import {useRoute} from "../../lib/router.ts";
import {useWords} from "../../lib/words.ts";
import {Job} from "./job.tsx";
import {Jobs} from "./jobs.tsx";
import {NewJob} from "./newjob.tsx";
import "./train.css";
import {words} from "./words.ts";

// Train makes jobs and lists them; #/train/ID is one of them.
export function Train(): JSX.Element {
  const w = useWords(words);
  const id = useRoute().parts[0];
  if (id !== undefined) return <Job key={id} id={id} />;
  return (
    <div class="stack">
      <h1>{w.title}</h1>
      <NewJob />
      <Jobs />
    </div>
  );
}
