// The runs that are chosen in a list.  They survive paging and filtering within this tab.

const KEY = "chosen runs";
const MOST = 500;

function stored() {
  try { return JSON.parse(sessionStorage.getItem(KEY)) || []; } catch { return []; }
}

export class Selection {
  #chosen = new Set(stored());
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  get ids() { return [...this.#chosen]; }
  get size() { return this.#chosen.size; }
  has(id) { return this.#chosen.has(id); }

  // Answers whether there was room for all of them.
  set(ids, on) {
    for (const id of ids) {
      if (!on) this.#chosen.delete(id);
      else if (this.#chosen.size < MOST) this.#chosen.add(id);
    }
    try { sessionStorage.setItem(KEY, JSON.stringify(this.ids)); } catch { /* private mode: this page only */ }
    this.#changed(this);
    return !on || ids.every((id) => this.#chosen.has(id));
  }

  clear() {
    this.set(this.ids, false);
  }
}
