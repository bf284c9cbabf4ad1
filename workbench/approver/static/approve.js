// The approval page: wakes the buttons once every row was on screen, asks for the key press, says what came of it.
// What is signed is made on the other side, from what this page was rendered from; nothing here can change it.
"use strict";

const form = document.getElementById("decide");
const buttons = [...form.querySelectorAll("button")];
const outcome = document.getElementById("outcome");
const unread = new Set(document.querySelectorAll(".end"));

function tell(text, refused) {
  outcome.textContent = text;
  outcome.classList.toggle("refused", refused);
}

function wake() {
  const left = unread.size;
  document.getElementById("left").textContent = left
    ? `Read to the end: ${left} ${left === 1 ? "row" : "rows"} not seen yet.`
    : "You have seen every row.";
  for (const button of buttons) button.disabled = left > 0 || form.dataset.done === "yes";
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

function covered() {
  const footer = document.querySelector("footer");
  return getComputedStyle(footer).position === "sticky" ? footer.offsetHeight : 0;
}

async function post(what, body) {
  const answer = await fetch(`/looks/${document.body.dataset.look}/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(`${value.code.replaceAll("_", " ")}: ${value.detail}`);
  return value;
}

async function press(verb) {
  const reason = form.elements.reason.value.trim();
  if (verb !== "approve" && !reason) {
    form.elements.reason.focus();
    throw new Error("say why: a reason is needed to reject or abstain");
  }
  const { publicKey } = await post("decision", { verb, role: form.elements.role.value, reason });
  tell("Press your security key.", false);
  const made = await navigator.credentials.get({
    publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey),
  });
  const { rawId, response } = made.toJSON();
  return post("assertion", {
    assertion: {
      credential: rawId,
      client_data: response.clientDataJSON,
      authenticator_data: response.authenticatorData,
      signature: response.signature,
    },
  });
}

for (const button of buttons) {
  button.addEventListener("click", async () => {
    for (const each of buttons) each.disabled = true;
    tell("", false);
    try {
      const { state, entry_seq: entry } = await press(button.dataset.verb);
      form.dataset.done = "yes";
      tell(`Recorded as entry ${entry}. The intent is now: ${state}. You can close this tab.`, false);
    } catch (error) {
      tell(error.name === "NotAllowedError" ? "No key press: nothing was decided." : error.message, true);
    }
    wake();
  });
}

document.addEventListener("visibilitychange", () => {
  for (const end of unread) {
    watch.unobserve(end);
    watch.observe(end);
  }
});
for (const end of unread) watch.observe(end);
