// The pages on which people decide: wakes the buttons once every row was on screen, asks for the key press, says what came of it.
// What is signed is made on the other side, from what this page was rendered from; nothing here can change it.
import { onPress, post, press, tell } from "./key.js";

const form = document.getElementById("decide");
const buttons = [...form.querySelectorAll("button")];
const unread = new Set(document.querySelectorAll(".end"));
const { act, answer } = document.body.dataset;
const AGREES = ["approve", "sign"];

function wake() {
  const left = unread.size;
  document.getElementById("left").textContent = left
    ? `Read to the end: ${left} ${left === 1 ? "row" : "rows"} not seen yet.`
    : "You have seen every row.";
  for (const button of buttons) button.disabled = left > 0;
}

function covered() {
  const footer = document.querySelector("footer");
  return getComputedStyle(footer).position === "sticky" ? footer.offsetHeight : 0;
}

// A row counts once its end was above the buttons, in a page that is being looked at.
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting || document.visibilityState !== "visible") continue;
    unread.delete(entry.target);
    watch.unobserve(entry.target);
  }
  wake();
}, { rootMargin: `0px 0px -${covered()}px 0px` });

document.addEventListener("visibilitychange", () => {
  for (const end of unread) {
    watch.unobserve(end);
    watch.observe(end);
  }
});
for (const end of unread) watch.observe(end);

for (const button of buttons) {
  const verb = button.dataset.verb;
  onPress(button, async () => {
    const said = Object.fromEntries(new FormData(form));
    said.reason = said.reason.trim();
    if (!AGREES.includes(verb) && !said.reason) {
      form.elements.reason.focus();
      throw new Error(`say why: a reason is needed to ${verb}`);
    }
    const { publicKey } = await post(act, { verb, ...said });
    return post(answer, { assertion: await press(publicKey) });
  }, ({ told }) => {
    for (const each of buttons) each.disabled = true;
    tell(`${told} You can close this tab.`);
  });
}
