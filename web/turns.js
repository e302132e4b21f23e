/** The turns of a conversation: turns the service's events into transcript and sound. */

import { possible } from "./audio.js";
import { CallPlayer } from "./call-player.js";
import { SoundClock } from "./clock.js";
import { Player } from "./player.js";
import { showLimitsCard } from "./engines.js";
import { explained } from "./texts.js";

export class Turns {
  /**
   * @param {import("./talk-view.js").TalkView} view
   * @param {(message: object) => void} tell sends a command to the service
   */
  constructor(view, tell) {
    this.view = view;
    this.tell = tell;
    this.clock = new SoundClock();
    /** Plays sound that comes as messages. @type {Player | null} */
    this.ownPlayer = null;
    /** Plays the track of a call. @type {CallPlayer | null} */
    this.callPlayer = null;
    /** @type {"rest" | "hearing" | "thinking" | "speaking"} */
    this.phase = "rest";
    /** Whether the reply pauses until it is decided whether the user interrupts. */
    this.held = false;
    /** Whether the service waits for the wake word. */
    this.asleep = false;
    /** Replies of the built-in responder to what needs a language model. @type {string[]} */
    this.fallbacks = [];
    /** Sample rate of the current reply in Hz. */
    this.rate = 0;
  }

  /** @returns {Player | CallPlayer | null} */
  get player() {
    return this.callPlayer ?? this.ownPlayer;
  }

  /** @param {{type: string}} event from the protocol, or connection_lost */
  happened(event) {
    const { transcript, trouble } = this.view;
    switch (event.type) {
      case "session_started":
        this.asleep = Boolean(event.options.wake_word);
        break;
      case "wake_word_heard":
      case "fell_asleep":
        this.asleep = event.type === "fell_asleep";
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
        this.ended();
        transcript.unsaid();
        break;
      case "turn_started":
        this.phase = "thinking";
        this.heardAfter = undefined;
        trouble.hide("turn", "voice", "other");
        transcript.begin();
        break;
      case "transcript_final":
        transcript.said(event.text, event.language);
        this.view.announce("youSaid", { words: event.text });
        break;
      case "reply_delta":
        transcript.write(event.text);
        break;
      case "speech_started":
        this.phase = "speaking";
        this.rate = event.rate_hz;
        this.player?.start(event.rate_hz);
        transcript.speaks(event.rate_hz);
        break;
      case "speech_span":
        transcript.span(event.start, event.end);
        break;
      case "speech_sound":
        this.sounds(event.samples, event.samples);
        break;
      case "speech_held":
      case "speech_resumed":
        this.held = event.type === "speech_held";
        break;
      case "turn_completed":
        this.ended();
        transcript.completed(this.timings(event));
        if (this.fallbacks.includes(event.reply?.trim())) transcript.suggest(showLimitsCard);
        break;
      case "turn_interrupted":
        this.ended();
        transcript.interrupted(event.heard_text, this.timings(event));
        this.stopSound();
        break;
      case "heard_corrected":
        transcript.corrected(event.heard_text);
        break;
      case "turn_failed":
        this.ended();
        transcript.failed(explained(event.code, event.message), this.timings(event));
        trouble.show({ code: "turn", message: explained(event.code, event.message) });
        break;
      case "stage_error":
        trouble.show({ code: "voice", message: explained(event.code, event.message) });
        break;
      case "error":
        trouble.show({ code: "other", message: explained(event.code, event.message) });
        break;
      case "connection_lost":
        this.ended();
        this.player?.flush();
        transcript.broken();
        break;
    }
  }

  /** @param {ArrayBuffer} pcm the next sound of the reply */
  spoken(pcm) {
    this.sounds(pcm.byteLength / 2, pcm);
  }

  /** @private */
  sounds(samples, sound) {
    this.view.transcript.receives(samples);
    this.player?.push(sound);
  }

  /** @param {RTCRtpReceiver | null} receiver the sound of the replies in a call; null: it comes as messages */
  call(receiver) {
    this.callPlayer?.close();
    this.callPlayer = receiver && new CallPlayer(receiver, this.playing());
    if (this.ownPlayer) this.callPlayer?.open(); // after a press
  }

  /** @private */
  ended() {
    this.phase = "rest";
    this.held = false;
    this.spokeAt = undefined;
  }

  /** Stop the sound, and report to the service how much was heard: its history keeps exactly that. */
  async stopSound() {
    if (this.player) this.tell({ type: "played", ms: await this.player.flush() });
  }

  /** Add the time that only this page knows: when the reply was heard. @private */
  timings({ timings_ms: timings }) {
    return this.heardAfter === undefined ? timings : { ...timings, heard: this.heardAfter };
  }

  /** Open the player. Call this in the handler of a press. Without sound the reply is still written. */
  async openPlayer() {
    if (!possible()) return;
    try {
      this.ownPlayer ??= await this.openOwn();
      await this.callPlayer?.open();
    } catch {
      this.view.trouble.show({ code: "silent" });
    }
  }

  /** @private */
  async openOwn() {
    const player = await Player.open(this.playing());
    if (this.rate) player.start(this.rate); // in the middle of a reply
    return player;
  }

  /** @private */
  playing() {
    return {
      began: () => {
        if (this.spokeAt !== undefined) this.heardAfter = performance.now() + this.player.latencyMs - this.spokeAt;
      },
      played: (samples, level) => {
        this.view.transcript.played(samples);
        this.view.loudness(level);
      },
    };
  }
}
