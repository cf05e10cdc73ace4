// What a browser remembers of its user. A browser that keeps nothing works, too.

const key = (name) => `ai-bridge.${name}`;

export function recall(name, store = localStorage) {
  try { return store.getItem(key(name)); } catch { return null; }
}

export function keep(name, value, store = localStorage) {
  try {
    if (value === null) store.removeItem(key(name));
    else store.setItem(key(name), value);
  } catch { /* as good as not remembered */ }
}

export function theme() {
  return document.documentElement.dataset.theme || "auto";
}

/** "auto", "light" or "dark". */
export function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  keep("theme", name === "auto" ? null : name);
}
