import { describe, expect, it } from "vitest";

import { callAddress, roomOf, signInAddress } from "./addresses";

describe("addresses", () => {
  it.each(["room_1", "a b/c?d#e", "<img src=x>", "50 %"])("name the room %s", (room) => {
    const address = new URL(callAddress(room, "7"), "http://localhost");
    expect(roomOf(address.pathname)).toBe(room);
    expect(address.search).toBe("?session=7");
  });

  it("are the list's otherwise", () => {
    expect(["/calls", "/calls/", "/", "/calls/a/b"].map(roomOf)).toEqual([undefined, undefined, undefined, undefined]);
    expect(roomOf("/calls/%zz")).toBe("%zz");
  });

  it("lead back after a sign-in", () => {
    expect(signInAddress("/calls/a?session=7")).toBe("/calls/sign-in?next=%2Fcalls%2Fa%3Fsession%3D7");
  });
});
