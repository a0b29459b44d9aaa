// Light or dark, before anything is painted: as chosen here before, else as the system prefers.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const apply = () => { document.documentElement.dataset.theme = kept() || (dark.matches ? "dark" : "light"); };
  apply();
  dark.addEventListener("change", apply);
})();
