// What all pages do with a security key: ask our own origin what to sign, press, bring the answer back.

export const outcome = document.getElementById("outcome");

export function tell(text, refused = false) {
  outcome.textContent = text;
  outcome.classList.toggle("refused", refused);
}

export async function post(path, body = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(`${value.code.replaceAll("_", " ")}: ${value.detail}`);
  return value;
}

export async function press(publicKey) {
  tell("Press your security key.");
  const made = await navigator.credentials.get({
    publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey),
  });
  const { rawId, response } = made.toJSON();
  return {
    credential: rawId,
    client_data: response.clientDataJSON,
    authenticator_data: response.authenticatorData,
    signature: response.signature,
  };
}

export async function make(publicKey) {
  tell("Press your security key.");
  const made = await navigator.credentials.create({
    publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey),
  });
  const { id, rawId, type, response } = made.toJSON();
  const { clientDataJSON, attestationObject } = response;
  return { id, rawId, type, response: { clientDataJSON, attestationObject } };
}

// Runs what a button does, once at a time, and says what came of it.
export function onPress(button, act, done) {
  button.addEventListener("click", async () => {
    tell("");
    button.disabled = true;
    try {
      done(await act());
    } catch (error) {
      button.disabled = false;
      tell(error.name === "NotAllowedError" ? "No key press: nothing was signed." : error.message, true);
    }
  });
}
