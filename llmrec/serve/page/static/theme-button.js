// The look: as the system has it, light, or dark; kept in this browser.
const ORDER = ["system", "light", "dark"];

export function themeButton(button) {
  if (!button) return;
  const root = document.documentElement;
  const show = () => {
    const now = root.dataset.theme || "system";
    button.querySelector("span").textContent = now[0].toUpperCase() + now.slice(1);
    button.setAttribute("aria-label", `Look: ${now}. Change it`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(root.dataset.theme || "system") + 1) % ORDER.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try { localStorage.setItem("llmrec-theme", next); } catch { /* it holds until the page is left */ }
    show();
  });
  show();
}
