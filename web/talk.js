/** Talk: the conversation between the microphone, the service, the loudspeaker and what is written on the page. */

import { possible } from "./audio.js";
import { Choices } from "./choices.js";
import { SoundClock } from "./clock.js";
import { Connection } from "./connection.js";
import { Keeping } from "./keeping.js";
import { Microphone } from "./microphone.js";
import { Player } from "./player.js";
import { PressButton } from "./press.js";
import { TalkView } from "./talk-view.js";
import { examples } from "./texts.js";

/** Sound before the press that is sent with it in push-to-talk, in pieces of 40 ms: who presses late loses nothing. */
const BEFORE_PRESS = 7;
const PIECE_MS = 40;
/** In push-to-talk the microphone is closed when nobody has pressed for so long. */
const UNUSED_MS = 60_000;

export class Talk {
  constructor() {
    this.view = new TalkView();
    this.clock = new SoundClock();
    this.keeping = new Keeping();
    this.choices = new Choices(document.getElementById("choices"), (name) => this.chosen(name));
    this.connection = new Connection({
      status: (status, trouble) => this.connected(status, trouble),
      event: (event) => this.happened(event),
      sound: (pcm) => this.spoken(pcm),
      query: () => this.choices.query,
      key: () => this.choices.key,
    });
    this.button = new PressButton(document.getElementById("press"), {
      holds: () => this.choices.push,
      pressed: () => (this.microphone || this.opening ? this.stop() : this.start()),
      held: () => this.hold(),
      released: () => this.release(),
    });
    /** @type {Microphone | null} */
    this.microphone = null;
    /** @type {Player | null} */
    this.player = null;
    /** @type {ArrayBuffer[]} */
    this.before = [];
    /** Typed before there was a connection. @type {string[]} */
    this.typed = [];
    this.phase = "rest";
    this.view.onType((words) => this.type(words));
    this.view.onNew(() => this.anew());
    this.view.offer(examples(), (words) => this.type(words));
    document.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.hush();
    });
    this.keeping.fillVoices(this.choices);
    if (!possible()) this.view.trouble.show({ code: "insecure" });
    this.connection.token = this.keeping.token;
    if (this.connection.token) this.connection.open(); // the page was loaded anew: the conversation goes on
    this.show();
  }

  // --- what the user does ---

  /** Microphone on, connection open. */
  async start() {
    this.view.trouble.hide();
    this.connection.open();
    this.opening = true;
    this.show();
    try {
      await this.openPlayer();
      this.microphone = await Microphone.open(
        (pcm, level) => this.heard(pcm, level),
        () => this.lost(),
      );
      if (!this.opening) this.closeMicrophone(); // stopped while the browser was asking
    } catch (error) {
      this.view.trouble.show({ code: error.code ?? "failed" });
    }
    this.opening = false;
    this.show();
    return Boolean(this.microphone);
  }

  /** Microphone off. What was being said is answered; what was being answered stops. */
  stop() {
    if (this.phase === "hearing") this.connection.send({ type: "commit" });
    else this.hush();
    this.closeMicrophone();
    this.opening = false;
    this.show();
  }

  async hold() {
    clearTimeout(this.unused);
    if (!this.microphone && (this.opening || !(await this.start()))) return;
    if (!this.button.down || !this.connection.send({ type: "begin" })) return;
    this.holding = true;
    for (const pcm of this.before.splice(0)) this.sendSound(pcm);
  }

  release() {
    this.unused = setTimeout(() => this.closeMicrophone(), UNUSED_MS);
    if (!this.holding) return;
    this.holding = false;
    this.connection.send({ type: "commit" });
  }

  async type(words) {
    this.typed.push(words);
    this.connection.open();
    await this.openPlayer();
    this.sendTyped();
  }

  /** Stop the reply. */
  hush() {
    if (this.phase === "thinking" || this.phase === "speaking") this.connection.send({ type: "interrupt" });
  }

  anew() {
    this.connection.close();
    this.connection.token = this.keeping.token = "";
    this.player?.flush();
    this.phase = "rest";
    this.view.transcript.clear();
    this.view.announce("fresh");
    if (this.microphone) this.connection.open();
    this.show();
  }

  chosen(name) {
    if (name === "key") {
      this.keeping.fillVoices(this.choices);
      if (this.view.trouble.code !== "key") return;
      this.view.trouble.hide();
      this.connection.open();
      return;
    }
    if (name === "push") this.closeMicrophone();
    this.connection.send({ type: "configure", ...this.choices.wishes });
    this.show();
  }

  // --- what the microphone hears ---

  heard(pcm, level) {
    this.view.level(level);
    if (!this.choices.push || this.holding) this.sendSound(pcm);
    else if (this.before.push(pcm) > BEFORE_PRESS) this.before.shift();
  }

  sendSound(pcm) {
    if (this.connection.sendSound(pcm)) this.clock.note(PIECE_MS);
  }

  lost() {
    this.closeMicrophone();
    this.view.trouble.show({ code: "lost" });
  }

  closeMicrophone() {
    clearTimeout(this.unused);
    this.microphone?.close();
    this.microphone = null;
    this.before = [];
    this.holding = false;
    this.view.level(0);
    this.show();
  }

  // --- what the service says ---

  connected(status, trouble) {
    this.link = status;
    if (status === "open") this.clock.restart();
    if (trouble?.code === "unknown_voice") this.choices.forgetVoice();
    if (trouble) {
      const again = { name: "tryNow", act: () => this.connection.open() };
      const sooner = { name: "tryNow", act: () => this.connection.hurry() };
      this.view.trouble.show(trouble, status === "waiting" ? sooner : again);
      if (trouble.code === "key") this.view.askForKey();
      if (trouble.final) this.closeMicrophone();
    } else if (status === "open") {
      this.view.trouble.hide("gone", "full", "overloaded", "key", "idle_timeout", "unknown_voice");
    }
    this.show();
  }

  happened(event) {
    const { transcript, trouble } = this.view;
    switch (event.type) {
      case "session_started":
        this.keeping.began(event, transcript);
        this.sendTyped();
        break;
      case "user_speech_started":
        this.phase = "hearing";
        transcript.partly("");
        break;
      case "transcript_partial":
        transcript.partly(event.text);
        break;
      case "user_speech_stopped":
        this.phase = "thinking";
        this.spokeAt = this.clock.timeOf(event.at_ms);
        break;
      case "utterance_ignored":
        this.phase = "rest";
        transcript.unsaid();
        break;
      case "turn_started":
        this.phase = "thinking";
        this.heardAfter = undefined;
        trouble.hide("turn", "voice", "other");
        transcript.begin();
        break;
      case "transcript_final":
        transcript.said(event.text);
        this.view.announce("youSaid", { words: event.text });
        break;
      case "reply_delta":
        transcript.write(event.text);
        break;
      case "speech_started":
        this.phase = "speaking";
        this.player?.start(event.rate_hz);
        transcript.speaks(event.rate_hz);
        break;
      case "speech_span":
        transcript.span(event.start, event.end);
        break;
      case "speech_held":
      case "speech_resumed":
        this.held = event.type === "speech_held";
        break;
      case "turn_completed":
        this.ended();
        transcript.completed(this.timings(event));
        break;
      case "turn_interrupted":
        this.ended();
        transcript.interrupted(event.heard_text, this.timings(event));
        this.stopSound();
        break;
      case "turn_failed":
        this.ended();
        transcript.interrupted("", this.timings(event));
        trouble.show({ ...event, code: "turn" });
        break;
      case "stage_error":
        trouble.show({ ...event, code: "voice" });
        break;
      case "error":
        trouble.show({ ...event, code: "other" });
        break;
      case "connection_lost":
        this.ended();
        this.player?.flush();
        transcript.broken();
        break;
    }
    this.show();
  }

  spoken(pcm) {
    this.view.transcript.receives(pcm.byteLength / 2);
    this.player?.push(pcm);
  }

  // --- the rest ---

  ended() {
    this.phase = "rest";
    this.held = this.holding = false;
    this.spokeAt = undefined;
  }

  /** Silence here at once, and the service is told how much was really heard: its history keeps exactly that. */
  async stopSound() {
    if (this.player) this.connection.send({ type: "played", ms: await this.player.flush() });
  }

  timings({ timings_ms: timings }) {
    return this.heardAfter === undefined ? timings : { ...timings, heard: this.heardAfter };
  }

  async openPlayer() {
    if (this.player || !possible()) return;
    try {
      this.player = await Player.open({
        began: () => {
          if (this.spokeAt !== undefined) {
            this.heardAfter = performance.now() + this.player.latencyMs - this.spokeAt;
          }
        },
        played: (samples, level) => {
          this.view.transcript.played(samples);
          this.view.loudness(level);
        },
      });
    } catch {
      this.view.trouble.show({ code: "silent" });
    }
  }

  sendTyped() {
    while (this.typed.length && this.connection.send({ type: "say", text: this.typed[0] })) this.typed.shift();
  }

  show() {
    const { microphone, opening, phase, held, link, holding } = this;
    this.view.show({ on: Boolean(microphone), opening, phase, held, link, holding, push: this.choices.push });
  }
}
