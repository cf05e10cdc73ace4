// Recordings of the call that is looked at. They come with the token, so they are played from memory; there one can jump
// to any point at once.

import { content, get } from "./api.js";
import { $, el, icon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

export class Recordings {
  #call = null;
  #list = null;
  #problem = null;
  #audio = null;
  #loading = null;
  #urls = new Map();

  constructor(store) {
    $("recordings").addEventListener("toggle", () => this.#read());
    store.on("end", (call) => { if (call === this.#call) this.#read(); });
    onLanguage(() => this.#draw());
  }

  show(call) {
    if (call === this.#call) return;
    this.#call = call;
    [this.#list, this.#problem] = [null, null];
    this.#silence();
    this.#draw();
    this.#read();
  }

  #silence() {
    this.#loading?.abort();
    this.#loading = null;
    this.#audio?.pause();
    this.#audio = null;
    for (const url of this.#urls.values()) URL.revokeObjectURL(url);
    this.#urls.clear();
  }

  async #read() {
    const call = this.#call;
    if (!call?.isOver || !$("recordings").open || this.#list) return;
    try {
      const { recordings } = await get(`/api/calls/${encodeURIComponent(call.id)}/recordings`);
      if (call === this.#call) [this.#list, this.#problem] = [recordings, null];
    } catch (problem) {
      this.#problem = problem.status === 404 ? t("rec.off") : t("rec.problem", { problem: problem.message });
    }
    if (call === this.#call) this.#draw();
  }

  #draw() {
    const box = $("recordings").lastElementChild;
    const word = !this.#call?.isOver ? t("rec.live") : this.#problem ?? (this.#list?.length === 0 ? t("rec.none") : null);
    if (word || !this.#list) return box.replaceChildren(el("p", { class: "quiet" }, word ?? ""));
    const sides = this.#list.map((one) => el("button", { class: "plain", "aria-pressed": "false", "data-side": one.name, onclick: () => this.#play(one) }, icon("play"), el("span", {}, t(`rec.${one.name}`))));
    box.replaceChildren(el("p", { class: "sides" }, ...sides), el("p", { class: "quiet", role: "status" }), el("div", { class: "player" }));
  }

  /** Plays one side, from where the other was. */
  async #play(one) {
    const box = $("recordings").lastElementChild;
    const [, status, player] = box.children;
    for (const button of box.querySelectorAll("[data-side]")) button.setAttribute("aria-pressed", String(button.dataset.side === one.name));
    this.#loading?.abort();
    const loading = this.#loading = new AbortController();
    const at = this.#audio?.currentTime ?? 0;
    this.#audio?.pause();
    try {
      if (!this.#urls.has(one.name)) {
        const told = (share) => { status.textContent = t("rec.loading", { share: Math.round(share * 100) }); };
        told(0);
        this.#urls.set(one.name, URL.createObjectURL(await content(one.url, told, loading.signal)));
      }
      if (loading !== this.#loading) return;
      status.textContent = "";
      const source = this.#urls.get(one.name);
      const audio = this.#audio = el("audio", { controls: true, src: source, "aria-label": t("rec.player", { side: t(`rec.${one.name}`) }) });
      audio.addEventListener("loadedmetadata", () => { audio.currentTime = Math.min(at, audio.duration || 0); }, { once: true });
      player.replaceChildren(audio, el("a", { class: "button plain", href: source, download: `${this.#call.id}-${one.name}.wav` }, icon("save"), el("span", {}, t("rec.save"))));
      await audio.play().catch(() => {});
    } catch (problem) {
      if (problem.name !== "AbortError") status.textContent = t("rec.problem", { problem: problem.message });
    }
  }
}
