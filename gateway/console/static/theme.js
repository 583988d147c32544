// Before the first paint, so that nothing flashes.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("stagedoor-theme"); } catch { /* no storage: the system's */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
