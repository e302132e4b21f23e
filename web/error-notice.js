/** The error message, with the one action that can help. It shows one error at a time. */

import { explained, hasText, number, text } from "./texts.js";

export class ErrorNotice {
  /** @param {HTMLElement} box @param {HTMLElement} words @param {HTMLButtonElement} button */
  constructor(box, words, button) {
    this.box = box;
    this.words = words;
    this.button = button;
    this.code = "";
  }

  /**
   * @param {{code: string, message?: string, seconds?: number}} trouble
   * @param {{name: string, act: () => void}} [action]
   */
  show({ code, message = "", seconds = 0 }, action = undefined) {
    this.code = code;
    const name = hasText(`trouble_${code}`) ? `trouble_${code}` : "trouble_other";
    const values = { message: explained(code, message), seconds: number(Math.max(1, Math.round(seconds)), 0), origin: location.origin };
    const words = text(name, values);
    if (this.words.textContent !== words) this.words.textContent = words; // screen readers would repeat an alert
    this.button.hidden = !action;
    if (action) {
      this.button.textContent = text(action.name);
      this.button.onclick = action.act;
    }
    this.box.hidden = false;
  }

  /** @param {string[]} codes hide only these errors; without codes, any error */
  hide(...codes) {
    if (codes.length && !codes.includes(this.code)) return;
    this.code = "";
    this.box.hidden = true;
    this.words.textContent = "";
  }
}
