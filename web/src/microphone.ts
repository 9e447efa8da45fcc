/** The customer's microphone: opening it, which ones there are, and which one was chosen last time. */

import { createLocalAudioTrack, type LocalAudioTrack, Room } from "livekit-client";

import { microphoneProblem, ProblemError } from "./problems";

const CHOSEN_KEY = "voice-agent.microphone";

/** Returns whether the browser will open a microphone without asking first. */
export async function mayOpenSilently(): Promise<boolean> {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false; // a browser that does not tell may ask
  }
}

/** Opens the chosen microphone, or the usual one where it is gone. Throws a ProblemError. */
export async function openMicrophone(): Promise<LocalAudioTrack> {
  try {
    const chosen = chosenMicrophone();
    return await createLocalAudioTrack({
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      ...(chosen ? { deviceId: { ideal: chosen } } : {}),
    });
  } catch (error) {
    throw new ProblemError(microphoneProblem(error), { cause: error });
  }
}

/** Returns the microphones that can be told apart: none with a name before the customer has allowed one. */
export async function listMicrophones(): Promise<MediaDeviceInfo[]> {
  if (navigator.mediaDevices === undefined) return [];
  const devices = await Room.getLocalDevices("audioinput", false);
  return devices.filter((device) => device.deviceId !== "" && device.label !== "");
}

/** Returns the device id that was chosen last, or "" for the browser's own choice. */
export function chosenMicrophone(): string {
  try {
    return localStorage.getItem(CHOSEN_KEY) ?? "";
  } catch {
    return ""; // storage is switched off
  }
}

export function rememberMicrophone(deviceId: string): void {
  try {
    localStorage.setItem(CHOSEN_KEY, deviceId);
  } catch {
    // storage is switched off: the choice holds for this page
  }
}
