/** The talk button: press to talk and press to stop or, with push-to-talk, hold while speaking. */

export class TalkButton {
  /**
   * @param {HTMLButtonElement} button
   * @param {object} told callbacks
   * @param {() => boolean} told.holds whether the button has to be held now
   * @param {() => void} told.pressed @param {() => void} told.held @param {() => void} told.released
   */
  constructor(button, told) {
    this.button = button;
    this.told = told;
    this.down = false;
    button.addEventListener("click", ({ detail }) => {
      if (!told.holds()) told.pressed();
      else if (!detail) this.toggle(); // a click by a screen reader, which cannot hold a button
    });
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !told.holds()) return;
      button.setPointerCapture(event.pointerId);
      this.hold();
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) {
      button.addEventListener(end, () => this.release());
    }
    button.addEventListener("contextmenu", (event) => {
      if (told.holds()) event.preventDefault(); // a long press on a phone opens the context menu
    });
    window.addEventListener("blur", () => this.release()); // the key is released in another window
    document.addEventListener("keydown", (event) => this.key(event));
    button.disabled = false; // a press before the page has started would be lost
    document.addEventListener("keyup", ({ key }) => {
      if (key === " " || key === "Enter") this.release();
    });
  }

  /** Space and Enter work on the button; Space also when no control has the focus. @private */
  key(event) {
    const onButton = document.activeElement === this.button;
    const nowhere = document.activeElement === document.body && event.key === " ";
    if (!(onButton && (event.key === " " || event.key === "Enter")) && !nowhere) return;
    if (event.ctrlKey || event.metaKey || event.altKey || !this.button.checkVisibility()) return;
    if (this.told.holds()) {
      event.preventDefault();
      if (!event.repeat) this.hold();
    } else if (nowhere) {
      event.preventDefault();
      if (!event.repeat) this.told.pressed();
    }
  }

  /** @private */
  toggle() {
    if (this.down) this.release();
    else this.hold();
  }

  /** @private */
  hold() {
    if (this.down) return;
    this.down = true;
    this.told.held();
  }

  /** @private */
  release() {
    if (!this.down) return;
    this.down = false;
    this.told.released();
  }
}
