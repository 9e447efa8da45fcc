/** What is searched for, in the page's address and in the service's words. Pure: the clock is handed in. */

export const SPANS = { "1h": 3_600_000, "24h": 86_400_000, "7d": 604_800_000 } as const;
export type Span = keyof typeof SPANS;

/** "" where something does not matter. `from` and `to`: ISO times; `since` counts back from now, wherever it is shared. */
export interface Search {
  since: Span | "";
  from: string;
  to: string;
  profile: string;
  reason: string;
  tenant: string;
  room: string;
  cursor: string;
}

export const PAGE_SIZE = 50;
const TEXTS = ["profile", "reason", "tenant", "room", "cursor"] as const;

/** Returns the search in an address's query; what makes no sense is left out. */
export function readSearch(query: string): Search {
  const params = new URLSearchParams(query);
  const text = (name: string): string => (params.get(name) ?? "").trim();
  const since = text("since");
  return {
    since: isSpan(since) ? since : "",
    from: isSpan(since) ? "" : isoOf(text("from")),
    to: isSpan(since) ? "" : isoOf(text("to")),
    profile: text("profile"),
    reason: text("reason"),
    tenant: text("tenant"),
    room: text("room"),
    cursor: text("cursor"),
  };
}

/** Returns the list's address for a search, without what does not matter. */
export function addressOf(search: Search): string {
  const query = new URLSearchParams();
  for (const name of ["since", "from", "to", ...TEXTS] as const) if (search[name] !== "") query.set(name, search[name]);
  return query.size === 0 ? "/calls" : `/calls?${query}`;
}

/** Returns the query for the service. */
export function apiQuery(search: Search, now: number): string {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
  const from = search.since === "" ? search.from : new Date(now - SPANS[search.since]).toISOString();
  if (from !== "") query.set("from", from);
  if (search.to !== "") query.set("to", search.to);
  for (const name of TEXTS) if (search[name] !== "") query.set(name, search[name]);
  return query.toString();
}

/** Returns whether anything is searched for, other than the next page. */
export function narrows(search: Search): boolean {
  return addressOf({ ...search, cursor: "" }) !== "/calls";
}

/** Returns an ISO time as a `datetime-local` field has it: in the browser's zone, to the minute. */
export function fieldOf(iso: string): string {
  if (iso === "") return "";
  const time = new Date(iso);
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** Returns the ISO time of a `datetime-local` field. */
export function isoOf(field: string): string {
  const time = new Date(field);
  return field === "" || Number.isNaN(time.getTime()) ? "" : time.toISOString();
}

function isSpan(text: string): text is Span {
  return Object.hasOwn(SPANS, text);
}
