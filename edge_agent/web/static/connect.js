// Connect a client: addresses as this page was reached (a proxy may have added TLS), and a button that copies each example.
const told = document.querySelectorAll("pre");
const plain = `http://${location.host}`;
for (const pre of told) {
  if (location.protocol === "https:") {
    pre.textContent = pre.textContent.replaceAll(plain, location.origin).replaceAll(`ws://${location.host}`, `wss://${location.host}`);
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", () => copy(pre, button));
  pre.before(button);
}

async function copy(pre, button) {
  getSelection().selectAllChildren(pre);
  try {
    await navigator.clipboard.writeText(pre.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Selected: copy it with the keyboard"; // no clipboard without TLS, except on this machine
  }
}
