// The login page: one button, one key press.
import { onPress, post, press, tell } from "./key.js";

const login = `/logins/${document.body.dataset.session}`;

onPress(document.querySelector("button"), async () => {
  const { publicKey } = await post(`${login}/challenge`);
  return post(`${login}/assertion`, { assertion: await press(publicKey) });
}, ({ person }) => tell(`${person} is logged in. You can close this tab.`));
