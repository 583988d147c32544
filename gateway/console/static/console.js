// What every page of the Console needs of a script. No page depends on it to be read.
(() => {
  "use strict";
  const root = document.documentElement;

  // Light or dark: the system's, until somebody chooses.
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    const tell = () => button.setAttribute("aria-pressed", String(isDark()));
    tell();
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("stagedoor-theme", root.dataset.theme); } catch { /* for this page only */ }
      tell();
      document.dispatchEvent(new CustomEvent("stagedoor:theme"));
    });
  }

  const menu = document.querySelector(".menu");
  menu?.addEventListener("click", () => {
    const open = menu.getAttribute("aria-expanded") !== "true";
    menu.setAttribute("aria-expanded", String(open));
  });

  // A form's token travels with whatever htmx sends.
  document.addEventListener("htmx:config:request", (event) => {
    const token = document.body.dataset.csrf;
    if (token) event.detail.ctx.request.headers["x-csrf"] = token;
  });

  // Times in the reader's own zone; the exact one is in the title already.
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const localise = (where) => {
    for (const time of where.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.valueOf())) continue;
      time.dataset.local = "";
      time.title = zone.format(at);
    }
  };
  localise(document);
  document.addEventListener("htmx:after:swap", () => localise(document));

  // What scrolls sideways can be scrolled by the keyboard.
  const reach = () => {
    for (const box of document.querySelectorAll(".scroll:not([tabindex])"))
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  };
  reach();
  addEventListener("resize", reach);

  // The secret of an invitation is behind the #, where no log sees it.
  const linked = document.querySelector("[data-link-form]");
  if (linked) {
    linked.elements.link.value = location.hash.slice(1);
    linked.addEventListener("submit", () => history.replaceState(null, "", location.pathname));
  }

  // "Really?" before what cannot be undone.
  document.addEventListener("submit", (event) => {
    const asked = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (asked && !window.confirm(asked)) event.preventDefault();
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(source.textContent.trim());
    const told = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = told; }, 1500);
  });

  // "/" goes to the page's search, as people are used to.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(input|textarea|select)$/i.test(event.target.tagName) || event.target.isContentEditable) return;
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); }
  });
})();
