/** The page: one call after another. Nothing is asked of the service but its list of profiles until somebody starts. */

import "@fontsource-variable/figtree";
import "./style.css";

import { Call, type CallObserver } from "./call";
import { chosenMicrophone, listMicrophones, rememberMicrophone } from "./microphone";
import { failureProblem, knowsBetter } from "./problems";
import { fetchProfiles, fetchStatus, fetchTranscript, type CallStatus, type Pass } from "./service";
import { type CallState, lookOf, START } from "./state";
import { type Actions, Page } from "./view";
import { didStart, wordsOf, wordsOfEnd } from "./words";

const CLOCK_MS = 250;
/** The agent still writes its last words when the customer has left. */
const BOOKS_TRIES = 12;
const BOOKS_PAUSE_MS = 700;
const MICROPHONE_TAKEN = "Your device uses the microphone for something else, such as a phone call: you are not heard.";

let call: Call | undefined;
let muted = false;

const actions: Actions = {
  start(microphone) {
    if (call !== undefined && call.state.stage !== "ended") return;
    muted = false;
    page.showProblem(undefined);
    page.clearWords();
    const choices = page.choices();
    page.showLocal(choices.localMode);
    page.showMuted(false, microphone);
    page.showView("call");
    call = new Call(
      { choices, microphone },
      observerOf(() => call),
    );
    void call.start().then(showMicrophones);
  },
  hangUp: () => call?.hangUp(),
  async mute() {
    showMuted(!muted);
    if ((await call?.setMuted(muted)) === false) showMicrophoneLost();
  },
  allowSound: () => void call?.allowSound(),
  async chooseMicrophone(deviceId) {
    const works = (await call?.useMicrophone(deviceId)) ?? true;
    if (works) rememberMicrophone(deviceId);
    else if (!muted) page.tell("That microphone did not start; the one before it is on again.");
    await showMicrophones();
  },
  chooseProfile() {
    if (call === undefined) showState();
  },
  send: async (text) => (await call?.type(text)) ?? false,
};

const page = new Page(actions);

function observerOf(current: () => Call | undefined): CallObserver {
  return {
    onState: () => showState(),
    onLines: (lines) => page.showLines(lines),
    onLevels: (levels) => page.showLevels(levels),
    onSilenced: (silenced) => page.showSilenced(silenced),
    onMicrophoneLost: () => showMicrophoneLost(),
    onMicrophoneTaken: (taken) => page.tell(taken ? MICROPHONE_TAKEN : "You are heard again."),
    onTold: (note) => page.tell(note),
    onEnd() {
      const ended = current();
      if (ended !== undefined) void showEnd(ended);
    },
  };
}

function showState(): void {
  const state: CallState = call?.state ?? START;
  const name = page.profile()?.displayName ?? "the agent";
  page.showLook(lookOf(state), wordsOf(state, performance.now(), name, muted));
}

function showMuted(now: boolean): void {
  muted = now;
  page.showMuted(muted, true);
  showState();
}

function showMicrophoneLost(): void {
  showMuted(true);
  page.tell("The microphone is gone. Plug one in and unmute, or type.");
}

/** Shows what is left of a call: first what the page knows, then what the service wrote down. */
async function showEnd(ended: Call): Promise<void> {
  const isShown = (): boolean => call === ended;
  const talked = ended.timings().milestones.agent !== undefined;
  page.showSilenced(false);
  page.showLevels({ agent: 0, customer: 0 });
  page.showProblem(ended.state.problem);
  page.showTimings(ended.pass === undefined ? undefined : ended.timings());
  page.showLines(ended.lines);
  page.showWordsNote(ended.lines.length > 0 ? "As it was heard here" : "", "Transcript");
  page.showView("after", didStart(ended.state) ? "Start again" : "Try again");
  if (ended.pass === undefined) return;

  const status = await waitForBooks(ended.pass, isShown);
  if (!isShown()) return;
  const failure = status?.phase === "Failed" ? failureProblem(status, talked) : undefined;
  if (failure !== undefined && knowsBetter(failure, ended.state.problem) && !ended.hungUp) {
    page.showProblem(failure);
  } else if (ended.state.problem === undefined) {
    page.showLook("ended", { headline: "Call ended", hint: wordsOfEnd(status?.endReason, ended.hungUp) });
  }
  const items = await fetchTranscript(ended.pass);
  if (!isShown() || items === undefined || items.length === 0) return;
  page.showTranscript(items);
  page.showWordsNote("As it was written down", "Transcript");
}

async function waitForBooks(pass: Pass, isWanted: () => boolean): Promise<CallStatus | undefined> {
  let status: CallStatus | undefined;
  for (let attempt = 0; attempt < BOOKS_TRIES && isWanted(); attempt += 1) {
    status = await fetchStatus(pass);
    if (status === undefined || status.phase === "Ended" || status.phase === "Failed") return status;
    await new Promise((resolve) => window.setTimeout(resolve, BOOKS_PAUSE_MS));
  }
  return status;
}

async function showMicrophones(): Promise<void> {
  page.showMicrophones(await listMicrophones(), chosenMicrophone());
}

window.setInterval(() => {
  if (call === undefined || call.state.stage === "ended") return;
  page.showClock(call.timings().callMs);
  if (call.state.agent === "lost") showState(); // its hint counts down
}, CLOCK_MS);
navigator.mediaDevices?.addEventListener("devicechange", () => void showMicrophones());
void showMicrophones();
void fetchProfiles().then((profiles) => {
  page.showProfiles(profiles);
  showState();
});
