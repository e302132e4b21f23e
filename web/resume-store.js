/** State that outlives a connection: the token that resumes the conversation, and the list of voices. */

import { withKey } from "./key.js";

const STORE = "parley.resume";

export class ResumeStore {
  /** The token of a conversation that can probably be resumed; "" for none. */
  get token() {
    try {
      const { token, seconds, at } = JSON.parse(sessionStorage.getItem(STORE)) ?? {};
      return Date.now() - at < seconds * 1000 ? token : "";
    } catch {
      return "";
    }
  }

  set token(token) {
    if (token) return;
    sessionStorage.removeItem(STORE);
    window.onpagehide = null;
  }

  /**
   * Store the token of a conversation that has begun or resumed.
   * @param {{resume: string, resumed: boolean, resume_seconds: number, history: object[]}} started
   * @param {import("./transcript.js").Transcript} transcript
   * @param {boolean} knows whether the service gets the conversation shown from this page
   */
  began({ resume: token, resumed, resume_seconds: seconds, history }, transcript, knows) {
    const store = () => sessionStorage.setItem(STORE, JSON.stringify({ token, seconds, at: Date.now() }));
    store();
    window.onpagehide = store; // its lifetime counts from leaving the page
    if (transcript.empty) transcript.restore(history);
    else if (!resumed && !knows) transcript.forgotten();
  }

  /**
   * @param {import("./choices.js").Choices} choices @param {string} key
   * @returns {Promise<boolean>} whether the service needs another key
   */
  async fillVoices(choices, key) {
    try {
      const answer = await fetch(new URL("v1/audio/voices", document.baseURI), { headers: withKey(key) });
      if (answer.ok) choices.setVoices((await answer.json()).voices);
      return answer.status === 401;
    } catch {
      return false; // no response, or an unsendable key: the conversation reports it
    }
  }
}
