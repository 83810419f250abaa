// Before anything is drawn: the look that was chosen here. Not a module, so that it does not wait.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("llmrec-theme"); } catch { /* no storage: as the system has it */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
