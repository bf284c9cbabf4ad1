// The registration page: one button, one key press.
import { make, onPress, post, tell } from "./key.js";

const { act, answer } = document.body.dataset;
const button = document.querySelector("button");

onPress(button, async () => {
  const { publicKey } = await post(act);
  return post(answer, { answer: await make(publicKey) });
}, ({ told }) => tell(told));

// A press before this line would be lost without a word.
button.disabled = false;
