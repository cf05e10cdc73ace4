// What has to be known before the first paint, so that nothing flickers: theme and language.
(() => {
  const kept = (name) => { try { return localStorage.getItem(`ai-bridge.${name}`); } catch { return null; } };
  const page = document.documentElement;
  const theme = kept("theme");
  if (theme === "light" || theme === "dark") page.dataset.theme = theme;
  const own = (navigator.languages || [navigator.language]).find((tag) => /^(ru|en)\b/i.test(tag)) || "en";
  page.lang = kept("language") || own.slice(0, 2).toLowerCase();
})();
