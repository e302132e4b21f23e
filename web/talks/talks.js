/** Conversations beyond the present one: kept in this browser, continued, retried; and the choice of persona and model. */

import { history } from "./exports.js";
import { TalkHistory } from "./history.js";
import { Personas } from "./personas.js";
import { TalkRecord } from "./record.js";
import { Replay } from "./replay.js";
import { TalkStore } from "./store.js";
import { TurnTools } from "./turn-tools.js";

const ENDS = ["turn_completed", "turn_interrupted", "turn_failed", "utterance_ignored", "heard_corrected"];

export class Talks {
  /** @param {import("../talk.js").Talk} talk */
  constructor(talk) {
    this.talk = talk;
    const { signIn, view } = talk;
    this.store = new TalkStore();
    this.record = new TalkRecord(this.store);
    this.replay = new Replay(
      () => ({ key: signIn.key, voice: this.voice || document.getElementById("voice").value }),
      () => view.trouble.show({ code: "replay" }),
    );
    this.personas = new Personas(() => {
      this.note();
      talk.configure();
    });
    this.tools = new TurnTools(view.transcript.list, this.replay, (words) => this.retry(words), view.keepUnsent);
    this.history = new TalkHistory(this.store, this.replay, {
      continued: (kept) => this.continue(kept),
      removed: (id) => {
        if (!id || id === this.record.kept.id) this.record.begin();
      },
      key: () => signIn.key,
    });
    /** The history that the next session gets. @type {{role: string, content: string}[] | null} */
    this.waiting = null;
  }

  /** Whether the next session gets the conversation that the page shows. */
  get knows() {
    return this.waiting !== null;
  }

  /** Fetch personas and models. @param {string} key */
  load(key) {
    return this.personas.load(key);
  }

  /** @param {Record<string, unknown>} wishes of the settings @returns the fields of `configure` */
  wishes(wishes) {
    return { ...this.personas.apply(wishes), ...this.personas.system };
  }

  /** @param {Record<string, string>} query of the settings @returns {Record<string, string>} that of a connection */
  query(query) {
    // Without the system prompt, which can be too long for an address: `begun` sends it.
    const asked = { ...this.personas.apply(query), ...(!this.store.recordable && { record: "0" }) };
    return Object.fromEntries(Object.entries(asked).map(([name, value]) => [name, String(value)]));
  }

  /** Handle an event before the page shows it. @param {{type: string}} event */
  happening(event) {
    const { transcript } = this.talk.view;
    if (event.type === "session_started") {
      this.voice = event.voice;
      const { continues } = this.record;
      this.record.started(event, transcript.empty);
      if (!event.resumed && !continues) this.note();
      this.begun(event);
      return;
    }
    if (event.type === "turn_started" || event.type === "user_speech_started") this.tools.hide();
    if (event.type === "transcript_final" && this.record.retries) this.tools.cut();
    if (event.type === "error") {
      this.record.retries = false;
      this.refused(event.code);
    }
    const { reply } = transcript;
    this.record.happened(event, reply?.words.split(reply.words.spoken)[0] ?? "");
  }

  /** Handle an event after the page has shown it. @param {{type: string}} event */
  happened(event) {
    if (ENDS.includes(event.type) || event.type === "connection_lost" || event.type === "session_started") {
      this.tools.show(event.type !== "connection_lost");
    }
  }

  /** Tell a session what does not fit into its address. @private */
  begun({ resumed }) {
    const { connection } = this.talk;
    if (this.personas.system.system) connection.send({ type: "configure", ...this.personas.system });
    if (this.waiting && !resumed) connection.send({ type: "restore", history: this.waiting });
    this.waiting = null;
  }

  /** @private @param {string} [words] in place of the last ones */
  async retry(words) {
    const { turns, connection, view } = this.talk;
    if (turns.phase === "rest") {
      await turns.openPlayer(); // first, because the reply can arrive at once
      this.record.retries = turns.phase === "rest" && connection.send({ type: "retry", ...(words && { text: words }) });
    }
    if (words && !this.record.retries) view.keepUnsent(words);
  }

  /** Write the chosen persona to the conversation. @private */
  note() {
    const { chosen, persona } = this.personas;
    Object.assign(this.record.kept, { persona: persona?.name ?? "", personaId: persona ? chosen : "" });
  }

  /** @private @param {import("./store.js").Kept} kept */
  continue(kept) {
    const { talk } = this;
    talk.startOver(false);
    const told = history(kept);
    this.record.begin(kept);
    this.record.continues = true;
    this.personas.resume(kept.personaId);
    this.waiting = told.length ? told : null;
    talk.view.transcript.restore(told);
    talk.connection.open();
    talk.view.press.focus();
  }

  /** Begin another conversation. */
  fresh() {
    this.replay.stop();
    this.waiting = null;
    this.record.begin();
  }

  /** Forget what the service does not have. @param {string} code of an error, also one that refused a connection */
  refused(code = "") {
    if (!this.personas.forget(code) && code === "unknown_voice") this.talk.choices.forgetVoice();
  }

  /** Stop hearing a reply again. */
  hush() {
    this.replay.stop();
  }
}
