import {api, ask, type Schema} from "./api.ts";
import {usePoll, type Polled} from "./poll.ts";

// known is what the last load of any view gave, for the next view to begin with.
let known: Schema<"Model">[] | undefined;

// useModels loads the base model and the adapters at their current versions, again every 10 seconds.
export function useModels(): Polled<Schema<"Model">[]> {
  const polled = usePoll(async (signal) => (known = (await ask(api.GET("/v1/models", {signal}))).data), 10);
  return {...polled, data: polled.data ?? known};
}
