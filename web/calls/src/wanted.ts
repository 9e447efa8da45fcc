/** Where somebody goes after signing in. Pure; the service checks it again. */

const SIGN_IN = "/calls/sign-in";

/** Returns the address to go to for who got the sign-in at this one; "" where it is the list. */
export function wantedAfter(path: string, query: string): string {
  if (path === SIGN_IN) return ours(new URLSearchParams(query).get("next") ?? "");
  return ours(path + query);
}

function ours(address: string): string {
  return /^\/calls([?/][^\\\s]*)?$/.test(address) && !address.includes("//") ? address : "";
}
