// The login page: one button, one key press.
import { onPress, post, press, tell } from "./key.js";

const login = `/logins/${document.body.dataset.session}`;

const button = document.querySelector("button");

onPress(button, async () => {
  const { publicKey } = await post(`${login}/challenge`);
  return post(`${login}/assertion`, { assertion: await press(publicKey) });
}, ({ person }) => tell(`${person} is logged in. You can close this tab.`));

// A press before this line would be lost without a word.
button.disabled = false;
