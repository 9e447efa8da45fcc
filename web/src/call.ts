/** One call, from the click to its end: the only module that talks to LiveKit. */

import {
  ConnectionQuality,
  DisconnectReason,
  type LocalAudioTrack,
  type Participant,
  type RemoteParticipant,
  type RemoteTrack,
  Room,
  RoomEvent,
  type TextStreamReader,
  Track,
  TrackEvent,
} from "livekit-client";

import { AgentWatch } from "./agent_watch";
import { type Line, type Speaker, withCut, withSegment, withTyped } from "./lines";
import { mayOpenSilently, openMicrophone } from "./microphone";
import {
  CONNECTION_LOST,
  connectProblem,
  disconnectProblem,
  type Problem,
  ProblemError,
  readNote,
  readNotice,
  refusalProblem,
} from "./problems";
import type { Pulse } from "./pulse";
import { type Choices, endCall, fetchPass, fetchStatus, type Pass } from "./service";
import { Ear, keepRunning } from "./sound";
import { type CallEvent, type CallState, next, START } from "./state";
import { type Milestone, Stopwatch, type Timings } from "./timings";
import { keepAwake } from "./wake_lock";

const AGENT_IDENTITY = "agent";
const NOTICE_TOPIC = "voice-agent";
const CHAT_TOPIC = "lk.chat";
const WORDS_TOPIC = "lk.transcription";
/** Attribute of a participant that speaks for another one, as an avatar does. */
const ON_BEHALF = "lk.publish_on_behalf";
const LEVELS_MS = 40;
const TICK_MS = 250;
/** After the last sound, somebody is still speaking for this long: pauses between words do not flicker. */
const AUDIBLE_HOLD_MS = 300;
/** How often the service is asked whether another agent is on its way. */
const RECOVERY_PAUSE_MS = 1000;

export interface CallOptions {
  choices: Choices;
  /** False for a customer who only types. */
  microphone: boolean;
}

export interface Levels {
  agent: number;
  customer: number;
}

/** Whoever shows the call. Each is called with all there is, never with only what is new. */
export interface CallObserver {
  onState(state: CallState): void;
  onLines(lines: readonly Line[]): void;
  onLevels(levels: Levels): void;
  /** The browser wants another click before it plays sound. */
  onSilenced(silenced: boolean): void;
  /** The microphone went away and no other could be opened: the call goes on muted. */
  onMicrophoneLost(): void;
  /** The device has taken the microphone for something else, or given it back. */
  onMicrophoneTaken(taken: boolean): void;
  /** Agent or service say something in passing: what was typed is not read, for example. */
  onTold(note: string): void;
  onEnd(): void;
}

export class Call {
  /** The room and token, once there are some: to ask for the transcript afterwards. */
  pass: Pass | undefined;
  state: CallState = START;
  lines: readonly Line[] = [];
  hungUp = false;

  private readonly room = new Room({ stopLocalTrackOnUnpublish: true });
  private readonly stopwatch = new Stopwatch(performance.now(), mark);
  private readonly aborter = new AbortController();
  private readonly untilOver = { signal: this.aborter.signal };
  private readonly watch = new AgentWatch(
    () => this.isOnline(),
    (heard) => this.onPulse(heard),
  );
  private readonly context = new AudioContext();
  private readonly ears = { agent: new Ear(this.context), customer: new Ear(this.context) };
  private readonly lastHeard: Record<Speaker, number> = { agent: -Infinity, customer: -Infinity };
  private readonly timers: number[] = [];
  private microphone: LocalAudioTrack | undefined;
  /** The agent's voice, and whose it is: a successor has another sid. */
  private voice: RemoteTrack | undefined;
  private speaker: string | undefined;
  private muted = false;
  private typed = 0;
  private over = false;

  constructor(
    private readonly options: CallOptions,
    private readonly observer: CallObserver,
  ) {}

  /** Runs the call up to its first second; everything after comes by events. Problems end it and are in its state. */
  async start(): Promise<void> {
    this.dispatch({ type: "clicked" });
    this.listen();
    try {
      await this.open();
    } catch (error) {
      this.end(error instanceof ProblemError ? error.problem : connectProblem(error));
    }
  }

  /** Ends the call because the customer wants it. */
  hangUp(): void {
    this.hungUp = true;
    if (this.pass !== undefined) void endCall(this.pass);
    this.dispatch({ type: "hung-up" });
  }

  /** Mutes or unmutes, also a microphone that is still being opened; false where it does not come back: still muted. */
  async setMuted(muted: boolean): Promise<boolean> {
    this.muted = muted;
    try {
      await (muted ? this.microphone?.mute() : this.microphone?.unmute());
    } catch {
      this.muted = true;
    }
    this.listenToCustomer();
    return this.muted === muted;
  }

  /** Takes another microphone; false where that does not start: then the one before is on again, or none and muted. */
  async useMicrophone(deviceId: string): Promise<boolean> {
    const microphone = this.microphone;
    if (microphone === undefined || this.over) return true;
    const before = (await microphone.getDeviceId(false)) ?? "";
    try {
      return await microphone.setDeviceId(deviceId);
    } catch {
      await microphone.setDeviceId(before).catch(() => microphone.mute());
      return false;
    }
  }

  /** Sends a typed message; false where nobody is there to read it. */
  async type(text: string): Promise<boolean> {
    if (this.state.stage !== "open" || this.state.agent !== "present") return false;
    try {
      await this.room.localParticipant.sendText(text, { topic: CHAT_TOPIC });
    } catch {
      return false; // the connection is down, and may come back
    }
    this.typed += 1;
    this.stopwatch.customerTyped(performance.now());
    this.setLines(withTyped(this.lines, `typed-${this.typed}`, text));
    return true;
  }

  /** Plays sound after the click that the browser asked for. */
  async allowSound(): Promise<void> {
    await Promise.all([this.room.startAudio(), this.context.resume()]);
  }

  timings(): Timings {
    return this.stopwatch.read(performance.now());
  }

  private async open(): Promise<void> {
    const silently = !this.options.microphone || (await mayOpenSilently());
    const microphone = this.options.microphone ? this.openMicrophone() : Promise.resolve();
    // Where the customer is asked first, no agent waits for the answer, and a refusal takes none.
    if (!silently) {
      this.dispatch({ type: "asking", asking: true });
      await microphone;
      this.dispatch({ type: "asking", asking: false });
    }
    await Promise.all([microphone, this.join()]);
    if (this.microphone !== undefined && !this.over) {
      await this.room.localParticipant.publishTrack(this.microphone, { source: Track.Source.Microphone });
    }
  }

  private async join(): Promise<void> {
    const pass = await fetchPass(this.options.choices, this.aborter.signal);
    if (this.over) return;
    this.pass = pass;
    this.stopwatch.reached("token", performance.now());
    await this.room.connect(pass.serverUrl, pass.token);
    // The agent first: nothing tells when it came if that was while we connected, only that it was not after.
    const agent = this.room.remoteParticipants.get(AGENT_IDENTITY);
    if (agent !== undefined) this.onAgent(agent);
    this.stopwatch.reached("connected", performance.now());
    this.dispatch({ type: "connected" });
  }

  private async openMicrophone(): Promise<void> {
    const microphone = await openMicrophone();
    this.stopwatch.reached("microphone", performance.now());
    if (this.over) return microphone.stop();
    this.microphone = microphone;
    // It is also changed by the library: when it is unplugged, for another one, or muted where there is none.
    microphone.on(TrackEvent.Restarted, () => this.listenToCustomer());
    microphone.on(TrackEvent.Muted, () => {
      if (this.muted || this.over) return;
      this.muted = true;
      this.listenToCustomer();
      this.observer.onMicrophoneLost();
    });
    await this.setMuted(this.muted);
  }

  private listenToCustomer(): void {
    const track = this.microphone?.mediaStreamTrack;
    this.ears.customer.listenTo(this.muted ? undefined : track);
    if (track === undefined) return;
    track.onmute = track.onunmute = () => this.onMicrophoneTaken(track);
    this.onMicrophoneTaken(track);
  }

  private onMicrophoneTaken(track: MediaStreamTrack): void {
    const isOld = track !== this.microphone?.mediaStreamTrack;
    if (this.over || isOld || track.muted === this.state.microphoneTaken) return;
    this.dispatch({ type: "microphone", taken: track.muted });
    this.observer.onMicrophoneTaken(track.muted);
  }

  private listen(): void {
    this.timers.push(
      window.setInterval(() => this.measureLevels(), LEVELS_MS),
      window.setInterval(() => this.dispatch({ type: "tick" }), TICK_MS),
      window.setInterval(() => keepRunning(this.context), TICK_MS),
    );
    keepAwake(this.aborter.signal);
    window.addEventListener("online", () => this.dispatch({ type: "network", carries: true }), this.untilOver);
    window.addEventListener("offline", () => this.dispatch({ type: "network", carries: false }), this.untilOver);
    this.room
      .on(RoomEvent.ParticipantConnected, (participant) => this.onAgent(participant))
      .on(RoomEvent.ParticipantDisconnected, (participant, reason) => this.onAgentGone(participant, reason))
      .on(RoomEvent.ParticipantAttributesChanged, (_, participant) => this.onAttributes(participant))
      .on(RoomEvent.TrackSubscribed, (track, _, participant) => this.onVoice(track, participant))
      .on(RoomEvent.TrackUnsubscribed, (track) => this.onVoiceGone(track))
      .on(RoomEvent.DataReceived, (data, sender, _kind, topic) => this.onData(data, sender, topic))
      .on(RoomEvent.SignalReconnecting, () => this.dispatch({ type: "connection", up: false }))
      .on(RoomEvent.Reconnecting, () => this.dispatch({ type: "connection", up: false }))
      .on(RoomEvent.Reconnected, () => this.dispatch({ type: "connection", up: true }))
      .on(RoomEvent.AudioPlaybackStatusChanged, () => this.observer.onSilenced(!this.room.canPlaybackAudio))
      .on(RoomEvent.Disconnected, (reason) => this.onDisconnected(reason));
    this.room.registerTextStreamHandler(WORDS_TOPIC, (reader, { identity }) => void this.read(reader, identity));
  }

  private onDisconnected(reason: DisconnectReason | undefined): void {
    const problem = disconnectProblem(reason);
    // Nothing was there to be lost yet: `connect` fails with this, and says why.
    if (this.state.stage === "connecting" && problem === CONNECTION_LOST) return;
    this.end(problem);
  }

  private onAgent(participant: Participant): void {
    if (participant.identity !== AGENT_IDENTITY) return;
    this.stopwatch.reached("agent", performance.now());
    this.onAttributes(participant);
  }

  private onAttributes(participant: Participant): void {
    if (participant.identity !== AGENT_IDENTITY) return;
    const value = participant.attributes["lk.agent.state"];
    this.dispatch({ type: "agent-state", value });
    // An agent without a voice is there once it says what it does.
    if (value !== undefined && value !== "" && this.state.agent === "awaited") this.dispatch({ type: "agent-present" });
  }

  private onVoice(track: RemoteTrack, participant: RemoteParticipant): void {
    const forAgent = participant.attributes[ON_BEHALF] === AGENT_IDENTITY;
    if ((participant.identity !== AGENT_IDENTITY && !forAgent) || track.kind !== Track.Kind.Audio) return;
    document.body.append(track.attach());
    // An avatar's sound, or another one beside the voice: music, an apology.
    if (forAgent || (participant.sid === this.speaker && this.voice !== undefined)) return;
    this.voice = track;
    this.speaker = participant.sid;
    this.ears.agent.listenTo(track.mediaStreamTrack);
    this.watch.watch(track);
    // A successor takes the identity over without a word of the first one leaving: its new voice is all that tells.
    this.onAttributes(participant);
    this.setLines(withCut(this.lines, "agent"));
    this.dispatch({ type: "agent-present" });
  }

  private onVoiceGone(track: RemoteTrack): void {
    track.detach().forEach((element) => element.remove());
    if (track === this.voice) this.voice = undefined;
  }

  private onAgentGone(participant: Participant, reason: DisconnectReason | undefined): void {
    if (participant.identity !== AGENT_IDENTITY) return;
    this.watch.stop();
    this.ears.agent.listenTo(undefined);
    this.dispatch({ type: reason === DisconnectReason.CLIENT_INITIATED ? "agent-left" : "agent-lost" });
    if (this.state.agent === "lost") this.setLines(withCut(this.lines, "agent"));
  }

  private onPulse(heard: Pulse["heard"]): void {
    if (!this.state.connected) return;
    this.dispatch({ type: "network", carries: heard !== "nothing" });
    if (heard === "agent" && this.state.agent === "lost") this.dispatch({ type: "agent-present" });
    if (heard === "only-the-network" && this.state.agent === "present") {
      this.dispatch({ type: "agent-lost" });
      this.setLines(withCut(this.lines, "agent"));
    }
  }

  private isOnline(): boolean {
    return navigator.onLine && this.room.localParticipant.connectionQuality !== ConnectionQuality.Lost;
  }

  /** Asks the service, while the agent is lost, whether another one is on its way. */
  private async followRecovery(): Promise<void> {
    const { pass } = this;
    const isLost = (): boolean => this.state.stage === "open" && this.state.agent === "lost";
    while (pass !== undefined && isLost()) {
      const status = await fetchStatus(pass);
      if (status?.phase === "Recovering" && isLost()) this.dispatch({ type: "recovering" });
      await new Promise((resolve) => window.setTimeout(resolve, RECOVERY_PAUSE_MS));
    }
  }

  private onData(data: Uint8Array, sender: Participant | undefined, topic: string | undefined): void {
    // The service's own come from nobody in the room.
    if (topic !== NOTICE_TOPIC || (sender !== undefined && sender.identity !== AGENT_IDENTITY)) return;
    const notice = readNotice(data);
    const note = readNote(data);
    if (notice !== undefined) this.end(refusalProblem(notice));
    else if (note !== undefined) this.observer.onTold(note);
  }

  private async read(reader: TextStreamReader, identity: string): Promise<void> {
    const attributes = (): Record<string, string> => reader.info.attributes ?? {};
    const who: Speaker = identity === this.room.localParticipant.identity ? "customer" : "agent";
    const id = `${identity}/${attributes()["lk.segment_id"] ?? reader.info.id}`;
    const isFinal = (): boolean => attributes()["lk.transcription_final"] === "true";
    let text = "";
    try {
      for await (const chunk of reader) {
        text += chunk;
        this.setLines(withSegment(this.lines, { id, who, text, final: false }));
      }
      this.setLines(withSegment(this.lines, { id, who, text, final: isFinal() }));
    } catch {
      this.setLines(withCut(this.lines, who)); // the speaker was lost in the middle of it
    }
  }

  private measureLevels(): void {
    const now = performance.now();
    const levels = { agent: this.ears.agent.level(), customer: this.ears.customer.level() };
    if (levels.agent > 0) this.stopwatch.agentHeard(now);
    if (levels.customer > 0 && this.state.stage === "open") this.stopwatch.customerHeard(now);
    for (const who of ["agent", "customer"] as const) {
      if (levels[who] > 0) this.lastHeard[who] = now;
      this.dispatch({ type: "audible", who, audible: now - this.lastHeard[who] < AUDIBLE_HOLD_MS });
    }
    this.observer.onLevels(levels);
  }

  private setLines(lines: readonly Line[]): void {
    // Words that were on their way when the call ended must not land in the next one.
    if (lines === this.lines || this.over) return;
    this.lines = lines;
    this.observer.onLines(lines);
  }

  private dispatch(event: CallEvent): void {
    const before = this.state;
    this.state = next(before, event, performance.now());
    if (this.state === before) return;
    if (this.state.stage === "ended") this.close();
    if (this.state.agent === "lost" && before.agent !== "lost") void this.followRecovery();
    this.observer.onState(this.state);
    if (this.state.stage === "ended") this.observer.onEnd();
  }

  private end(problem: Problem | undefined): void {
    this.dispatch({ type: "ended", problem });
  }

  /** Gives everything back, whatever the call had opened by then. */
  private close(): void {
    this.over = true;
    this.stopwatch.ended(performance.now());
    this.lines = withCut(withCut(this.lines, "agent"), "customer");
    this.aborter.abort();
    this.watch.stop();
    this.timers.forEach((timer) => window.clearInterval(timer));
    this.microphone?.stop();
    void this.room.disconnect();
    void this.context.close();
  }
}

/** Leaves a User Timing: the browser's developer tools show it, and the benchmark reads it. */
function mark(milestone: Milestone, startTime: number): void {
  performance.mark(`call-${milestone}`, { startTime });
}
