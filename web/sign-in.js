/**
 * Signing in: the access key, and the card that asks for it. The key is kept until the tab is closed, or, if the user
 * wants it, in this browser.
 *
 * Events: `change`, there is another key; `out`, the user signs out: what the page has read with the key is to vanish.
 */

import { socketToken } from "./key.js";
import { text } from "./texts.js";

const STORE = "parley.key";
const find = (id) => document.getElementById(id);

export class SignIn extends EventTarget {
  constructor() {
    super();
    /** The access key; "" for none. */
    this.key = sessionStorage.getItem(STORE) ?? localStorage.getItem(STORE) ?? "";
    this.card = find("sign-in");
    this.form = this.card.querySelector("form");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    find("sign-in-open").addEventListener("click", () => this.ask());
    find("sign-in-later").addEventListener("click", () => this.card.close());
    find("sign-out").addEventListener("click", () => this.signOut());
    this.show();
  }

  /** Open the card. @param {string} [code] of the error that another key can fix */
  ask(code) {
    const { key, remember } = this.form.elements;
    find("key-words").textContent = code ? text(`trouble_${code}`) : "";
    if (this.card.open) return;
    key.value = this.key;
    remember.checked = localStorage.getItem(STORE) !== null;
    find("sign-out").hidden = !this.key;
    this.card.showModal();
    key.select();
  }

  /** Take the key, unless the service does not know it. @private */
  async submit() {
    const { key, remember } = this.form.elements;
    const wanted = key.value.trim();
    const { trouble } = await socketToken(wanted);
    if (!this.card.open) return; // closed in the meantime
    if (trouble?.code === "key") {
      find("key-words").textContent = text("trouble_key");
      key.select();
      return;
    }
    this.keep(wanted, remember.checked);
    this.card.close();
    this.dispatchEvent(new Event("change"));
  }

  /** Forget the key, and load the page again without it. @private */
  signOut() {
    this.keep("", false);
    this.dispatchEvent(new Event("out"));
    location.reload();
  }

  /** @private */
  keep(key, remembered) {
    this.key = key;
    const store = (where, wanted) => (wanted ? where.setItem(STORE, key) : where.removeItem(STORE));
    store(sessionStorage, key);
    store(localStorage, key && remembered);
    this.show();
  }

  /** @private */
  show() {
    find("sign-in-open").textContent = text(this.key ? "signedIn" : "signIn");
  }
}
