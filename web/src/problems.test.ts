import { ConnectionError, DisconnectReason } from "livekit-client";
import { describe, expect, it } from "vitest";

import {
  connectProblem,
  disconnectProblem,
  failureProblem,
  knowsBetter,
  microphoneProblem,
  readNote,
  readNotice,
  refusalProblem,
  tokenProblem,
} from "./problems";

/** What livekit-client throws when the token endpoint answers with `status`. */
function refusal(status: number, body: unknown): Error {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return new Error(`Error generating token from endpoint /api/token: received ${status} / ${text}`);
}

function named(name: string): Error {
  return Object.assign(new Error("…"), { name });
}

function encode(body: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(body));
}

describe("problems", () => {
  it.each([
    ["NotAllowedError", "microphone-refused"],
    ["NotFoundError", "microphone-missing"],
    ["NotReadableError", "microphone-busy"],
    ["TypeError", "browser-too-old"],
  ])("of a microphone: %s", (name, code) => {
    expect(microphoneProblem(named(name)).code).toBe(code);
  });

  it("of a service that does not answer", () => {
    expect(tokenProblem(new TypeError("Failed to fetch")).code).toBe("service-unreachable");
    expect(tokenProblem(named("TimeoutError")).code).toBe("service-unreachable");
  });

  it("of a full service, with the time to try again", () => {
    expect(tokenProblem(refusal(429, { retryAfterSeconds: 12 }))).toMatchObject({
      code: "full",
      retryAfterSeconds: 12,
    });
    expect(tokenProblem(refusal(429, "busy")).retryAfterSeconds).toBeUndefined();
    expect(tokenProblem(refusal(503, { retryAfterSeconds: 2 }))).toMatchObject({
      code: "service-unreachable",
      retryAfterSeconds: 2,
    });
  });

  it("of a refusal in the service's own words, over several lines too", () => {
    expect(tokenProblem(refusal(422, { detail: "there is no\nprofile x" })).advice).toBe("There is no\nprofile x.");
    expect(tokenProblem(refusal(401, {})).code).toBe("key-needed");
    expect(tokenProblem(refusal(500, "<html>")).code).toBe("service-unreachable");
  });

  it("of a voice connection", () => {
    expect(connectProblem(ConnectionError.notAllowed("no", 401)).code).toBe("service-refused");
    expect(connectProblem(ConnectionError.serverUnreachable("away")).code).toBe("service-unreachable");
    expect(connectProblem(new Error("?")).code).toBe("service-unreachable");
  });

  it("of a room that gets no agent", () => {
    const full = readNotice(encode({ type: "no-capacity", reason: "NoCapacity", retryAfterSeconds: 20 }));
    expect(full && refusalProblem(full)).toMatchObject({ code: "full", retryAfterSeconds: 20 });
    const broken = readNotice(encode({ type: "no-capacity", reason: "ImagePullFailed", message: "No image." }));
    expect(broken && refusalProblem(broken)).toMatchObject({ code: "service-refused" });
    const expired = readNotice(encode({ type: "refused", reason: "ticket-expired", message: "too old" }));
    expect(expired && refusalProblem(expired)).toMatchObject({ code: "service-refused", advice: "Too old." });
  });

  it("are not read out of other data", () => {
    expect(readNotice(encode({ type: "weather" }))).toBeUndefined();
    expect(readNotice(new TextEncoder().encode("hello"))).toBeUndefined();
    expect(readNotice(encode(null))).toBeUndefined();
  });

  it("are not what is told in passing", () => {
    const note = encode({ type: "text-refused", reason: "too-long", message: "It is too long." });
    expect([readNotice(note), readNote(note)]).toEqual([undefined, "It is too long."]);
    expect(readNote(encode({ type: "error", reason: "error", message: "I am sorry." }))).toBe("I am sorry.");
    expect(readNote(encode({ type: "refused", message: "no" }))).toBeUndefined();
    expect(readNote(encode({ type: "error", message: { html: "no text" } }))).toBeUndefined();
  });

  it("of a call that failed, as its status says", () => {
    expect(failureProblem({ message: "All places are taken.", retryAfterSeconds: 15 }, false)).toMatchObject({
      code: "full",
      retryAfterSeconds: 15,
    });
    expect(failureProblem({ message: "this call is over" }, false)).toMatchObject({
      code: "service-refused",
      advice: "This call is over.",
    });
    expect(failureProblem({}, false).code).toBe("service-refused");
    expect(failureProblem({ message: "The agent failed." }, true).code).toBe("agent-lost");
  });

  it("are the service's where it knows better than the page", () => {
    const full = failureProblem({ retryAfterSeconds: 15 }, false);
    const refused = failureProblem({ message: "This call is over." }, false);
    const unexplained = failureProblem({}, false);
    const unconnected = connectProblem(ConnectionError.internal("could not establish pc connection"));
    const turnedAway = connectProblem(ConnectionError.leaveRequest("closed", DisconnectReason.ROOM_DELETED));
    const failures = [full, refused, unexplained];
    for (const seen of [undefined, turnedAway]) {
      expect(failures.map((failure) => knowsBetter(failure, seen))).toEqual([true, true, true]);
    }
    expect(failures.map((failure) => knowsBetter(failure, unconnected))).toEqual([true, true, false]);
    const elsewhere = disconnectProblem(DisconnectReason.DUPLICATE_IDENTITY);
    expect(failures.map((failure) => knowsBetter(failure, elsewhere))).toEqual([false, false, false]);
  });

  it("of the end of a room", () => {
    expect(disconnectProblem(DisconnectReason.CLIENT_INITIATED)).toBeUndefined();
    expect(disconnectProblem(DisconnectReason.ROOM_DELETED)).toBeUndefined();
    expect(disconnectProblem(DisconnectReason.DUPLICATE_IDENTITY)?.code).toBe("opened-elsewhere");
    expect(disconnectProblem(undefined)?.code).toBe("connection-lost");
  });
});
