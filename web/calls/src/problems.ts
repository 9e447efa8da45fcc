/** What keeps a call from being shown, in plain words. Pure. */

/** `passes`: whether it may be over by itself, so that asking again helps. */
export interface Problem {
  code: "signed-out" | "forbidden" | "missing" | "refused" | "unreachable";
  title: string;
  advice: string;
  passes: boolean;
}

export const UNREACHABLE: Problem = {
  code: "unreachable",
  title: "The service does not answer",
  advice: "It may be restarting, or your own connection is down.",
  passes: true,
};

/** Returns the problem of an answer that is none; `detail`: the service's own words. */
export function problemOf(status: number, detail: string | undefined): Problem {
  switch (status) {
    case 401:
      return {
        code: "signed-out",
        title: "You are signed out",
        advice: "The sign-in has ended, or its key was taken back. Sign in again to go on here.",
        passes: false,
      };
    case 403:
      return {
        code: "forbidden",
        title: "This is not yours to see",
        advice: detail ?? "Ask who gave you the key.",
        passes: false,
      };
    case 404:
      return {
        code: "missing",
        title: "No such call",
        advice: "It may be another tenant's, or older than what is kept; or the address is not whole.",
        passes: false,
      };
    default:
      if (status >= 500 && detail === undefined) return UNREACHABLE;
      return {
        code: "refused",
        title: "The service refuses",
        advice: detail ?? `It answered ${status}.`,
        passes: status >= 500 || status === 429,
      };
  }
}
