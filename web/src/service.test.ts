import { expect, it, vi } from "vitest";

import { tokenRequest, whicheverFirst } from "./service";

it("asks for what was chosen and nothing else", () => {
  expect(tokenRequest({ profile: undefined, provider: undefined, localMode: false })).toEqual({});
  const request = tokenRequest({ profile: "bank", provider: "openai", localMode: true });
  expect(request.agentName).toBe("bank");
  expect(JSON.parse(request.agentMetadata ?? "")).toEqual({ llm_provider: "openai", is_local_mode: "true" });
});

it("gives up when the call does, and after its time", () => {
  vi.useFakeTimers();
  const call = new AbortController();
  const hungUp = whicheverFirst(call.signal, 1000);
  expect(hungUp.aborted).toBe(false);
  call.abort();
  expect(hungUp.aborted).toBe(true);
  expect(whicheverFirst(call.signal, 1000).aborted).toBe(true);
  const late = whicheverFirst(new AbortController().signal, 1000);
  vi.advanceTimersByTime(1001);
  expect(late.reason).toMatchObject({ name: "TimeoutError" });
  vi.useRealTimers();
});
