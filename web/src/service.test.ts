import { expect, it } from "vitest";

import { tokenRequest } from "./service";

it("asks for what was chosen and nothing else", () => {
  expect(tokenRequest({ profile: undefined, provider: undefined, localMode: false })).toEqual({});
  const request = tokenRequest({ profile: "bank", provider: "openai", localMode: true });
  expect(request.agentName).toBe("bank");
  expect(JSON.parse(request.agentMetadata ?? "")).toEqual({ llm_provider: "openai", is_local_mode: "true" });
});
