/** The page's elements: puts values into them and says what the customer did. Knows nothing of LiveKit. */

import type { Levels } from "./call";
import { clockReading, duration } from "./durations";
import type { Line } from "./lines";
import { Orb } from "./orb";
import type { Problem } from "./problems";
import type { Choices, Profile, TranscriptItem } from "./service";
import type { Look } from "./state";
import { median, type Milestone, type Timings } from "./timings";
import { announcementOf, type Words } from "./words";

const METER_BARS = 12;
const MILESTONES: readonly [Milestone, string][] = [
  ["microphone", "Microphone ready"],
  ["token", "Room assigned"],
  ["connected", "Connected"],
  ["agent", "Agent in the room"],
  ["firstAudio", "First word heard"],
];

export type View = "start" | "call" | "after";

/** What the customer did. */
export interface Actions {
  start(microphone: boolean): void;
  hangUp(): void;
  mute(): void;
  allowSound(): void;
  chooseMicrophone(deviceId: string): void;
  chooseProfile(): void;
  send(text: string): Promise<boolean>;
}

export class Page {
  private readonly root = element("page", HTMLElement);
  private readonly orb = new Orb(element("orb", HTMLCanvasElement));
  private readonly log = element("log", HTMLElement);
  private readonly lines = element("lines", HTMLElement);
  private readonly shown = new Map<string, HTMLElement>();
  private readonly meterBars: HTMLElement[] = [];
  private profiles: Profile[] = [];
  private look: Look = "start";
  private retryTimer: number | undefined;

  constructor(private readonly actions: Actions) {
    this.buildMeter();
    this.listen();
  }

  showView(view: View, startLabel = "Start talking"): void {
    this.root.dataset.view = view;
    show("choices", view !== "call");
    show("controls", view === "call");
    show("composer", view === "call");
    show("conversation", view === "call" || this.lines.childElementCount > 0);
    show("timings", view === "after" && element("milestones", HTMLElement).childElementCount > 0);
    show("foot", view === "start");
    show("clock", view === "call");
    element("options", HTMLDetailsElement).open = view === "start";
    element("start", HTMLButtonElement).textContent = startLabel;
    // The button that was pressed is gone: the focus would be lost with it.
    if (view !== "start") element("headline", HTMLElement).focus({ preventScroll: true });
  }

  showLook(look: Look, words: Words): void {
    setText("headline", words.headline);
    setText("hint", words.hint);
    const announcement = announcementOf(this.look, look);
    if (announcement !== undefined) setText("announcer", announcement);
    this.look = look;
    this.root.dataset.look = look;
    this.orb.show(look);
  }

  showLevels(levels: Levels): void {
    this.orb.hear(levels);
    const lit = Math.round(levels.customer * METER_BARS);
    this.meterBars.forEach((bar, place) => bar.classList.toggle("lit", place < lit));
    element("meter", HTMLElement).setAttribute("aria-valuenow", String(Math.round(levels.customer * 100)));
  }

  showClock(milliseconds: number): void {
    setText("clock", clockReading(milliseconds));
  }

  /** Shows what went wrong, counting down where the time to retry is known; undefined hides it. */
  showProblem(problem: Problem | undefined): void {
    window.clearInterval(this.retryTimer);
    show("notice", problem !== undefined);
    show("notice-retry", problem?.retryAfterSeconds !== undefined);
    show("start-typing", problem?.code.startsWith("microphone-") === true || problem?.code === "browser-too-old");
    element("notice", HTMLElement).dataset.code = problem?.code ?? "";
    setText("notice-title", problem?.title ?? "");
    setText("notice-advice", problem?.advice ?? "");
    if (problem?.retryAfterSeconds !== undefined) this.countDown(problem.retryAfterSeconds);
  }

  showLines(lines: readonly Line[]): void {
    const rows = lines.map((line) => ({
      id: line.id,
      who: line.who,
      text: line.text,
      state: line.state,
      note: line.typed ? "typed" : line.state === "cut" ? "cut off" : "",
    }));
    this.showRows(rows);
  }

  /** Shows the conversation as the service wrote it down. */
  showTranscript(items: readonly TranscriptItem[]): void {
    const messages = items.filter((item) => item.kind === "message" && item.content);
    this.shown.clear();
    this.lines.replaceChildren();
    this.showRows(
      messages.map((item, place) => ({
        id: `item-${place}`,
        who: item.role === "user" ? "customer" : "agent",
        text: item.content,
        state: "final",
        note: item.interrupted ? "interrupted" : "",
      })),
    );
    this.log.scrollTop = 0;
  }

  /** Says something in passing during a call, beside the words and to a screen reader. */
  tell(note: string): void {
    if (this.root.dataset.view !== "call") return;
    setText("words-note", note);
    setText("announcer", note);
  }

  showWordsNote(note: string, title: string): void {
    setText("words-note", note);
    setText("words-title", title);
    show("copy", title === "Transcript" && this.lines.childElementCount > 0);
  }

  showTimings(timings: Timings | undefined): void {
    const reached = MILESTONES.flatMap(([milestone, label]) => {
      const value = timings?.milestones[milestone];
      return value === undefined ? [] : [{ label, value }];
    });
    // As they happened: the microphone may be ready before the room, or after it.
    const rows = reached.toSorted((a, b) => a.value - b.value).map(({ label, value }) => row(label, duration(value)));
    element("milestones", HTMLElement).replaceChildren(...rows.flat());
    element("answers", HTMLElement).replaceChildren(...(timings ? answersOf(timings.answers) : []));
  }

  showMuted(muted: boolean, possible: boolean): void {
    const button = element("mute", HTMLButtonElement);
    button.setAttribute("aria-pressed", String(muted));
    button.disabled = !possible;
    setText("mute-label", muted ? "Unmute" : "Mute");
    this.root.dataset.muted = String(muted);
  }

  showSilenced(silenced: boolean): void {
    show("allow-sound", silenced);
  }

  showMicrophones(devices: readonly MediaDeviceInfo[], chosen: string): void {
    const known = devices.some((device) => device.deviceId === chosen) ? chosen : (devices[0]?.deviceId ?? "");
    for (const select of document.querySelectorAll<HTMLSelectElement>("select.microphones")) {
      const options = devices.map((device) => new Option(device.label, device.deviceId));
      select.replaceChildren(...(options.length > 0 ? options : [new Option("Usual microphone", "")]));
      select.value = known;
      select.disabled = devices.length < 2;
    }
    show("microphone-field", devices.length > 1);
  }

  showProfiles(profiles: Profile[]): void {
    this.profiles = profiles;
    const select = element("profile", HTMLSelectElement);
    select.replaceChildren(...profiles.map((profile) => new Option(profile.displayName, profile.name)));
    show("profile-field", profiles.length > 1);
    this.showProfileChoices();
  }

  showLocal(local: boolean): void {
    show("local-note", local);
  }

  /** The chosen profile, where the service offers any. */
  profile(): Profile | undefined {
    return this.profiles.find((profile) => profile.name === element("profile", HTMLSelectElement).value);
  }

  choices(): Choices {
    const localMode = !hidden("local-field") && element("local", HTMLInputElement).checked;
    const provider = element("provider", HTMLSelectElement).value;
    return {
      profile: this.profile()?.name,
      provider: hidden("provider-field") || localMode || provider === "" ? undefined : provider,
      localMode,
    };
  }

  private showProfileChoices(): void {
    const profile = this.profile();
    const providers = profile?.providers ?? [];
    const select = element("provider", HTMLSelectElement);
    select.replaceChildren(new Option("The agent's usual", ""), ...providers.map((name) => new Option(name, name)));
    show("provider-field", providers.length > 1);
    show("local-field", profile?.localMode === true);
    element("local", HTMLInputElement).checked = false;
    select.disabled = false;
  }

  private showRows(rows: readonly { id: string; who: string; text: string; state: string; note: string }[]): void {
    for (const { id, who, text, state, note } of rows) {
      let item = this.shown.get(id);
      if (item === undefined) {
        item = buildLine(who);
        this.shown.set(id, item);
        this.lines.append(item);
      }
      item.dataset.state = state;
      update(item.querySelector(".text"), text);
      update(item.querySelector(".note"), note);
    }
    show("conversation", rows.length > 0 || this.root.dataset.view === "call");
  }

  /** Makes room for another conversation. */
  clearWords(): void {
    this.shown.clear();
    this.lines.replaceChildren();
    this.showWordsNote("", "Conversation");
  }

  private countDown(seconds: number): void {
    const end = performance.now() + seconds * 1000;
    const tell = (): void => {
      const left = Math.ceil((end - performance.now()) / 1000);
      setText("notice-retry", left > 0 ? `Try again in ${left} s.` : "You can try again now.");
      if (left <= 0) window.clearInterval(this.retryTimer);
    };
    tell();
    this.retryTimer = window.setInterval(tell, 500);
  }

  private buildMeter(): void {
    const meter = element("meter", HTMLElement);
    for (let bar = 0; bar < METER_BARS; bar += 1) this.meterBars.push(meter.appendChild(document.createElement("i")));
  }

  private listen(): void {
    on("choices", "submit", (event) => {
      event.preventDefault();
      this.actions.start(true);
    });
    on("start-typing", "click", () => this.actions.start(false));
    on("hang-up", "click", () => this.actions.hangUp());
    on("mute", "click", () => this.actions.mute());
    on("allow-sound", "click", () => this.actions.allowSound());
    on("profile", "change", () => {
      this.showProfileChoices();
      this.actions.chooseProfile();
    });
    on("local", "change", () => {
      element("provider", HTMLSelectElement).disabled = element("local", HTMLInputElement).checked;
    });
    on("copy", "click", () => void this.copyWords());
    on("composer", "submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    for (const select of document.querySelectorAll<HTMLSelectElement>("select.microphones")) {
      select.addEventListener("change", () => this.actions.chooseMicrophone(select.value));
    }
  }

  private async send(): Promise<void> {
    const input = element("message", HTMLInputElement);
    const text = input.value.trim();
    if (text === "") return;
    const sent = await this.actions.send(text);
    if (sent) input.value = "";
    this.tell(sent ? "" : "Not sent: nobody is here to read it just now.");
  }

  private async copyWords(): Promise<void> {
    const lines = [...this.lines.children].map((item) => {
      const who = item.querySelector(".who")?.textContent ?? "";
      return `${who}: ${item.querySelector(".text")?.textContent ?? ""}`;
    });
    const copied = await navigator.clipboard.writeText(lines.join("\n")).then(
      () => true,
      () => false, // the browser did not allow it
    );
    setText("copy", copied ? "Copied" : "Not allowed");
    setText("announcer", copied ? "The transcript was copied." : "The browser did not allow copying.");
    window.setTimeout(() => setText("copy", "Copy"), 2000);
  }
}

function answersOf(answers: readonly number[]): Node[] {
  const middle = median(answers);
  if (middle === undefined) return [];
  const list = document.createElement("ol");
  const longest = Math.max(...answers, 1);
  list.append(
    ...answers.map((answer) => {
      const item = document.createElement("li");
      item.style.setProperty("--part", String(answer / longest));
      item.textContent = duration(answer);
      return item;
    }),
  );
  const title = document.createElement("p");
  title.textContent =
    answers.length === 1
      ? "From your last word to the answer"
      : `From your last word to the answer, typically ${duration(middle)}`;
  return [title, list];
}

function buildLine(who: string): HTMLElement {
  const item = document.createElement("li");
  item.dataset.who = who;
  for (const [name, text] of [
    ["who", who === "agent" ? "Agent" : "You"],
    ["text", ""],
    ["note", ""],
  ] as const) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    item.append(part);
  }
  return item;
}

function row(label: string, value: string): HTMLElement[] {
  const term = document.createElement("dt");
  const definition = document.createElement("dd");
  term.textContent = label;
  definition.textContent = value;
  return [term, definition];
}

function element<Kind extends HTMLElement>(id: string, kind: abstract new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return found;
}

function on(id: string, event: string, listener: (event: Event) => void): void {
  element(id, HTMLElement).addEventListener(event, listener);
}

function show(id: string, visible: boolean): void {
  element(id, HTMLElement).hidden = !visible;
}

function hidden(id: string): boolean {
  return element(id, HTMLElement).hidden === true;
}

function setText(id: string, text: string): void {
  update(element(id, HTMLElement), text);
}

function update(node: Element | null, text: string): void {
  if (node !== null && node.textContent !== text) node.textContent = text;
}
