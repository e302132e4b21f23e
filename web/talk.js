/** The Talk tab: connects microphone, service, loudspeaker and transcript. */

import { possible } from "./audio.js";
import { Choices } from "./choices.js";
import { Connection } from "./connection.js";
import { ResumeStore } from "./resume-store.js";
import { Microphone } from "./microphone.js";
import { TalkButton } from "./talk-button.js";
import { KeptConversations } from "./kept-conversations.js";
import { TalkView } from "./talk-view.js";
import { Talks } from "./talks/talks.js";
import { examples } from "./texts.js";
import { Turns } from "./turns.js";

/** Push-to-talk sends nothing between presses but these chunks (0.3 s) from before one: users often press late. */
const BEFORE_PRESS = 8;
const PIECE_MS = 40;
/** With push-to-talk the microphone is closed after this time without a press. */
const UNUSED_MS = 60_000;
/** Errors that another key can fix. */
const OF_KEYS = ["key", "key_needed", "right"];
/** Errors that are over once there is a connection. */
const CONNECTED = ["gone", "draining", "full", "places", "often", "overloaded", "idle_timeout", "unknown_voice", ...OF_KEYS];

export class Talk {
  /** @param {import("./sign-in.js").SignIn} signIn */
  constructor(signIn) {
    this.signIn = signIn;
    this.view = new TalkView();
    this.turns = new Turns(this.view, (message) => this.connection.send(message));
    this.keeping = new ResumeStore();
    this.choices = new Choices(document.getElementById("choices"), (name) => this.chosen(name));
    this.connection = new Connection({
      status: (status, trouble) => this.connected(status, trouble),
      event: (event) => this.happened(event),
      sound: (pcm) => this.turns.spoken(pcm),
      track: (receiver) => this.turns.call(receiver),
      query: () => this.talks.query(this.choices.query),
      key: () => signIn.key,
    });
    this.recorded = new KeptConversations(document.getElementById("recorded"), () => signIn.key);
    this.button = new TalkButton(document.getElementById("press"), {
      holds: () => this.choices.push,
      pressed: () => (this.microphone || this.opening ? this.stop() : this.start()),
      held: () => this.hold(),
      released: () => this.release(),
    });
    this.talks = new Talks(this);
    /** @type {Microphone | null} */
    this.microphone = null;
    /** @type {ArrayBuffer[]} */
    this.before = [];
    /** Whether a connection was refused because of the key. */
    this.refused = false;
    /** Messages typed before the connection was open. @type {string[]} */
    this.typed = [];
    /** Languages of the recogniser; empty: unknown. @type {string[]} */
    this.known = [];
    this.view.onType((words) => this.type(words));
    this.view.onNew(() => this.startOver());
    this.view.onStop(
      () => this.hush(),
      () => this.stop(),
    );
    this.view.offer(examples(), (words) => this.type(words));
    signIn.addEventListener("change", () => this.signedIn());
    signIn.addEventListener("out", () => this.startOver(false));
    document.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || document.querySelector("dialog[open]")) return; // the key closes the dialog
      if (!this.view.closeSettings()) this.hush();
    });
    this.fillVoices();
    if (!possible()) this.view.trouble.show({ code: "insecure" });
    this.connection.token = this.keeping.token;
    if (this.connection.token) this.connection.open(); // the page was reloaded: resume the conversation
    this.show();
  }

  // --- user actions ---

  /** Switch the microphone on and open the connection. */
  async start() {
    this.pressed = true;
    this.view.warn([]);
    this.view.trouble.hide();
    this.connection.open();
    this.opening = true;
    this.show();
    try {
      await this.turns.openPlayer();
      this.microphone = await Microphone.open(
        (pcm, level) => this.heard(pcm, level),
        () => this.lost(),
      );
      this.speak();
      // Stopped, or refused by the service, while the browser asked for permission.
      if (!this.opening || !this.connection.wanted) this.closeMicrophone();
    } catch (error) {
      this.view.trouble.show({ code: error.code ?? "failed" });
    }
    this.opening = false;
    this.show();
    return Boolean(this.microphone);
  }

  /** Switch the microphone off. Commit an unfinished utterance; stop a running reply. */
  stop() {
    if (this.turns.phase === "hearing") this.connection.send({ type: "commit" });
    else this.hush();
    this.closeMicrophone();
    this.opening = false;
    this.show();
  }

  async hold() {
    clearTimeout(this.unused);
    if (!this.microphone && (this.opening || !(await this.start()))) return;
    this.beginIfHeld();
  }

  /** Begin the utterance once microphone and connection are both ready. */
  beginIfHeld() {
    if (!this.button.down || this.holding || !this.microphone || !this.connection.ready) return;
    for (const pcm of this.before.splice(0)) this.sendSound(pcm);
    this.holding = this.connection.send({ type: "begin" });
  }

  release() {
    this.unused = setTimeout(() => this.closeMicrophone(), UNUSED_MS);
    if (!this.holding) return;
    this.holding = false;
    this.connection.send({ type: "commit" });
  }

  async type(words) {
    await this.turns.openPlayer(); // first, because the reply can arrive at once
    this.typed.push(words);
    this.connection.open();
    this.sendTyped();
  }

  /** Stop the reply. */
  hush() {
    this.talks.hush();
    if (["thinking", "speaking"].includes(this.turns.phase)) this.connection.send({ type: "interrupt" });
  }

  /** Begin another conversation. @param {boolean} opens whether to connect at once */
  startOver(opens = Boolean(this.microphone)) {
    this.connection.close();
    this.connection.token = this.keeping.token = "";
    this.happened({ type: "connection_lost" });
    this.view.transcript.clear();
    this.talks.fresh();
    this.view.announce("fresh");
    if (opens) this.connection.open();
    this.show();
  }

  /** Go on with another key. */
  signedIn() {
    this.view.trouble.hide(...OF_KEYS);
    if (this.refused) this.connection.open();
    this.fillVoices();
  }

  chosen(name) {
    if (name === "push") this.closeMicrophone();
    if (name === "language") this.warn();
    if (name === "wake") this.turns.asleep = Boolean(this.choices.wake);
    this.configure();
  }

  /** @param {Record<string, string>} phrases wake words of the service, name → phrase */
  setWakeWords(phrases) {
    this.choices.setWakeWords(phrases);
    if (!phrases[this.choices.wake]) return;
    this.turns.asleep = true;
    this.configure(); // the connection can be older than the list
  }

  /** @param {string[]} languages of the recogniser @param {string[]} spoken those of the voice; empty: unknown */
  setLanguages(languages, spoken) {
    this.known = languages;
    this.warn(); // before a choice that the recogniser lacks is lost
    this.choices.setLanguages(languages, spoken);
  }

  /** Until the first press, warn that the user's language is not understood. */
  warn() {
    if (!this.pressed) this.view.warn(this.known, this.choices.language);
  }

  configure() {
    this.connection.send({ type: "configure", ...this.talks.wishes(this.choices.wishes) });
    this.show();
  }

  // --- microphone input ---

  heard(pcm, level) {
    this.view.level(level);
    if (!this.choices.push || this.holding) this.sendSound(pcm);
    else if (this.before.push(pcm) > BEFORE_PRESS) this.before.shift();
  }

  sendSound(pcm) {
    if (this.connection.sendSound(pcm)) this.turns.clock.note(PIECE_MS);
  }

  /** In a call the track carries the user's sound; with push-to-talk, messages do, as it begins before the press. */
  speak() {
    this.connection.speak(this.choices.push ? null : (this.microphone?.track ?? null));
  }

  lost() {
    this.closeMicrophone();
    this.view.trouble.show({ code: "lost" });
  }

  closeMicrophone() {
    clearTimeout(this.unused);
    this.microphone?.close();
    this.microphone = null;
    this.speak();
    this.before = [];
    this.holding = false;
    this.view.level(0);
    this.show();
  }

  // --- service events ---

  connected(status, trouble) {
    this.link = status;
    if (status === "open") this.turns.clock.restart();
    if (trouble) this.talks.refused(trouble.code);
    if (trouble) {
      const again = { name: "tryNow", act: () => this.connection.open() };
      const sooner = { name: "tryNow", act: () => this.connection.hurry() };
      this.refused = OF_KEYS.includes(trouble.code);
      if (this.refused) this.askForKey(trouble.code);
      else this.view.trouble.show(trouble, status === "waiting" ? sooner : again);
      if (trouble.final) this.closeMicrophone();
    } else if (status === "open") {
      this.refused = false;
      this.view.trouble.hide(...CONNECTED);
    }
    this.show();
  }

  happened(event) {
    const { knows } = this.talks;
    this.talks.happening(event);
    if (event.type === "session_started") {
      this.recorded.show(event);
      this.keeping.began(event, this.view.transcript, knows);
      this.sendTyped();
      this.beginIfHeld();
    }
    if (event.type === "connection_lost") this.holding = false;
    this.turns.happened(event);
    this.talks.happened(event);
    this.show();
  }

  // --- helpers ---

  /** Fetch the list of voices; ask for a key if the service needs one. */
  async fillVoices() {
    const { key } = this.signIn;
    this.talks.load(key);
    if (!(await this.keeping.fillVoices(this.choices, key)) || this.view.trouble.code) return;
    this.askForKey(key ? "key" : "key_needed");
  }

  /** @param {string} code one of OF_KEYS */
  askForKey(code) {
    this.view.trouble.show({ code }, { name: "signIn", act: () => this.signIn.ask(code) });
    this.signIn.ask(code);
  }

  sendTyped() {
    while (this.typed.length && this.connection.send({ type: "say", text: this.typed[0] })) this.typed.shift();
  }

  show() {
    const { microphone, opening, holding } = this;
    const { phase, held } = this.turns;
    const { via } = this.connection;
    const phrase = this.turns.asleep ? (this.choices.phrases[this.choices.wake] ?? "") : "";
    const link = this.link === "open" && !via ? "connecting" : this.link; // lost a moment ago
    const { push } = this.choices;
    this.view.show({ on: Boolean(microphone), opening, phase, held, link, via, holding, push, phrase });
  }
}
