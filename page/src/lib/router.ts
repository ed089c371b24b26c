import {createStore, useStore} from "./store.ts";

// The address of a view is behind the #: #/adapters/terse?version=1a2b is the view "adapters", the parts ["terse"] and the
// query. The server sees none of it.
export interface Route {
  view: string;
  parts: string[];
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const [view = "", ...parts] = path.split("/").map(decode);
  return {view, parts: parts.filter((p) => p !== ""), query: new URLSearchParams(query)};
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a lone % of a hand-written address
  }
}

// link returns the address of a view, for href.
export function link(view: string, parts: string[] = [], query: Record<string, string> = {}): string {
  const search = new URLSearchParams(query).toString();
  return "#/" + [view, ...parts].map(encodeURIComponent).join("/") + (search === "" ? "" : "?" + search);
}

export function navigate(view: string, parts: string[] = [], query: Record<string, string> = {}): void {
  location.hash = link(view, parts, query);
}

const route = createStore<Route>({view: "", parts: [], query: new URLSearchParams()});

// startRouter follows the address.
export function startRouter(): void {
  const read = (): void => route.set(parseRoute(location.hash));
  read();
  addEventListener("hashchange", read);
}

export const useRoute = (): Route => useStore(route);
