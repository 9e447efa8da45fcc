/** The page's own addresses. Pure. */

/** Returns the room that an address is about, or undefined: the list's. */
export function roomOf(path: string): string | undefined {
  const [, part] = /^\/calls\/([^/]+)\/?$/.exec(path) ?? [];
  if (part === undefined) return undefined;
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // no address of ours: the service will not know it
  }
}

/** Returns the address of a room's call: of its newest, or of this session. */
export function callAddress(room: string, session?: string): string {
  const query = session === undefined ? "" : `?${new URLSearchParams({ session })}`;
  return `/calls/${encodeURIComponent(room)}${query}`;
}

/** Returns the address of the sign-in, after which somebody is back at this one. */
export function signInAddress(address: string): string {
  return `/calls/sign-in?${new URLSearchParams({ next: address })}`;
}
