/** Talk: the conversation between the microphone, the service, the loudspeaker and what is written on the page. */

import { possible } from "./audio.js";
import { Choices } from "./choices.js";
import { Connection } from "./connection.js";
import { Keeping } from "./keeping.js";
import { Microphone } from "./microphone.js";
import { PressButton } from "./press.js";
import { Recorded } from "./recorded.js";
import { TalkView } from "./talk-view.js";
import { examples } from "./texts.js";
import { Turns } from "./turns.js";

/** In push-to-talk nothing leaves between presses; but so many pieces (0.3 s) before one do: who presses late loses nothing. */
const BEFORE_PRESS = 8;
const PIECE_MS = 40;
/** In push-to-talk the microphone is closed when nobody has pressed for so long. */
const UNUSED_MS = 60_000;
/** Troubles that another key may mend. */
const OF_KEYS = ["key", "key_needed", "right"];
/** Troubles that are over when there is a connection. */
const CONNECTED = ["gone", "draining", "full", "places", "often", "overloaded", "idle_timeout", "unknown_voice", ...OF_KEYS];

export class Talk {
  constructor() {
    this.view = new TalkView();
    this.turns = new Turns(this.view, (message) => this.connection.send(message));
    this.keeping = new Keeping();
    this.choices = new Choices(document.getElementById("choices"), (name) => this.chosen(name));
    this.connection = new Connection({
      status: (status, trouble) => this.connected(status, trouble),
      event: (event) => this.happened(event),
      sound: (pcm) => this.turns.spoken(pcm),
      query: () => this.choices.query,
      key: () => this.choices.key,
    });
    this.recorded = new Recorded(document.getElementById("recorded"), () => this.choices.key);
    this.button = new PressButton(document.getElementById("press"), {
      holds: () => this.choices.push,
      pressed: () => (this.microphone || this.opening ? this.stop() : this.start()),
      held: () => this.hold(),
      released: () => this.release(),
    });
    /** @type {Microphone | null} */
    this.microphone = null;
    /** @type {ArrayBuffer[]} */
    this.before = [];
    /** Whether a connection was refused for want of a good key. */
    this.refused = false;
    /** Typed before there was a connection. @type {string[]} */
    this.typed = [];
    this.view.onType((words) => this.type(words));
    this.view.onNew(() => this.anew());
    this.view.offer(examples(), (words) => this.type(words));
    document.addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && !this.view.closeSettings()) this.hush();
    });
    this.fillVoices();
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
      await this.turns.openPlayer();
      this.microphone = await Microphone.open(
        (pcm, level) => this.heard(pcm, level),
        () => this.lost(),
      );
      // Stopped, or refused by the service, while the browser was asking.
      if (!this.opening || !this.connection.wanted) this.closeMicrophone();
    } catch (error) {
      this.view.trouble.show({ code: error.code ?? "failed" });
    }
    this.opening = false;
    this.show();
    return Boolean(this.microphone);
  }

  /** Microphone off. What was being said is answered; what was being answered stops. */
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

  /** Once there are both, the microphone and the connection. */
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
    await this.turns.openPlayer(); // first: the answer may come at once
    this.typed.push(words);
    this.connection.open();
    this.sendTyped();
  }

  /** Stop the reply. */
  hush() {
    if (["thinking", "speaking"].includes(this.turns.phase)) this.connection.send({ type: "interrupt" });
  }

  anew() {
    this.connection.close();
    this.connection.token = this.keeping.token = "";
    this.turns.happened({ type: "connection_lost" });
    this.view.transcript.clear();
    this.view.announce("fresh");
    if (this.microphone) this.connection.open();
    this.show();
  }

  chosen(name) {
    if (name === "key") {
      this.view.trouble.hide(...OF_KEYS);
      this.view.forgetKeyTrouble();
      if (this.refused) this.connection.open();
      this.fillVoices();
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
    if (this.connection.sendSound(pcm)) this.turns.clock.note(PIECE_MS);
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
    if (status === "open") this.turns.clock.restart();
    if (trouble?.code === "unknown_voice") this.choices.forgetVoice();
    if (trouble) {
      const again = { name: "tryNow", act: () => this.connection.open() };
      const sooner = { name: "tryNow", act: () => this.connection.hurry() };
      this.view.trouble.show(trouble, status === "waiting" ? sooner : again);
      this.refused = OF_KEYS.includes(trouble.code);
      if (this.refused) this.view.askForKey();
      if (trouble.final) this.closeMicrophone();
    } else if (status === "open") {
      this.refused = false;
      this.view.trouble.hide(...CONNECTED);
    }
    this.show();
  }

  happened(event) {
    if (event.type === "session_started") {
      this.recorded.show(event);
      this.keeping.began(event, this.view.transcript);
      this.sendTyped();
      this.beginIfHeld();
    }
    if (event.type === "connection_lost") this.holding = false;
    this.turns.happened(event);
    this.show();
  }

  // --- the rest ---

  /** The voices there are; and what is said to who needs a key for that. */
  async fillVoices() {
    if (!(await this.keeping.fillVoices(this.choices)) || this.view.trouble.code) return;
    this.view.trouble.show({ code: this.choices.key ? "key" : "key_needed" });
    this.view.askForKey();
  }

  sendTyped() {
    while (this.typed.length && this.connection.send({ type: "say", text: this.typed[0] })) this.typed.shift();
  }

  show() {
    const { microphone, opening, link, holding } = this;
    const { phase, held } = this.turns;
    this.view.show({ on: Boolean(microphone), opening, phase, held, link, holding, push: this.choices.push });
  }
}
