// An element with data-poll="ms" is fetched anew in that rhythm, as long as it says so and is not paused or hidden.
import { say, swap } from "./swap.js";

export function followPolls() {
  const first = document.querySelector("[data-poll]");
  if (!first) return;
  const { id } = first;
  let paused = false;
  const button = first.dataset.pause ? document.getElementById(first.dataset.pause) : null;
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      paused = !paused;
      button.setAttribute("aria-pressed", String(paused));
      button.textContent = paused ? "Go on" : "Pause";
      say(paused ? "Paused" : "Goes on");
    });
  }
  const next = () => {
    const here = document.getElementById(id);
    if (!here?.dataset.poll) {
      say("Done");
      return;
    }
    setTimeout(async () => {
      if (!paused && !document.hidden && getSelection().isCollapsed) {
        try { await swap([id], location.href); } catch { say("The service could not be reached"); }
      }
      next();
    }, Number(here.dataset.poll));
  };
  next();
}
