import {api, ask, type Schema} from "./api.ts";
import {usePoll, type Polled} from "./poll.ts";

// useModels loads the base model and the adapters at their current versions, again every 10 seconds.
export function useModels(): Polled<Schema<"Model">[]> {
  return usePoll(async (signal) => (await ask(api.GET("/v1/models", {signal}))).data, 10);
}
