/** What outlives a connection: the token that brings the conversation back, and the voices that there are. */

import { withKey } from "./key.js";

const STORE = "parley.resume";

export class Keeping {
  /** The token of a conversation that may still be there; "" for none. */
  get token() {
    try {
      const { token, seconds, at } = JSON.parse(sessionStorage.getItem(STORE)) ?? {};
      return Date.now() - at < seconds * 1000 ? token : "";
    } catch {
      return "";
    }
  }

  set token(token) {
    if (!token) sessionStorage.removeItem(STORE);
  }

  /**
   * A conversation began or goes on.
   * @param {{resume: string, resumed: boolean, resume_seconds: number, history: object[]}} started
   * @param {import("./transcript.js").Transcript} transcript
   */
  began({ resume: token, resumed, resume_seconds: seconds, history }, transcript) {
    const store = () => sessionStorage.setItem(STORE, JSON.stringify({ token, seconds, at: Date.now() }));
    store();
    window.onpagehide = store; // its time counts from when the page is left
    if (transcript.empty) transcript.restore(history);
    else if (!resumed) transcript.forgotten();
  }

  /** @param {import("./choices.js").Choices} choices @returns {Promise<boolean>} whether a key is asked for */
  async fillVoices(choices) {
    try {
      const answer = await fetch(new URL("v1/audio/voices", document.baseURI), { headers: withKey(choices.key) });
      if (answer.ok) choices.setVoices((await answer.json()).voices);
      return answer.status === 401;
    } catch {
      return false; // the service is away, or the key cannot be sent: the conversation tells
    }
  }
}
