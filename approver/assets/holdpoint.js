"use strict";
// What pages cannot do without script: passkeys, what changes by itself, and a button that has to be held.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const WORDS = {
  none: "This browser knows no passkeys, or does not trust this page's certificate. The administrator's guide says how it comes to.",
  NotAllowedError: "The passkey gave no answer: it was not touched in time, was refused, or this is not where it was made. Try again.",
  InvalidStateError: "This key is enrolled here already. Use another one.",
  SecurityError: "The browser refuses passkeys on this page: its address is not the one that the gate is configured with.",
};

const ASK = {
  get: async ({ site, challenge }) => {
    const publicKey = { challenge: bytes(challenge), rpId: site, userVerification: "required", timeout: 120000 };
    const { response } = await navigator.credentials.get({ publicKey });
    return {
      "client-data": response.clientDataJSON,
      "authenticator-data": response.authenticatorData,
      "signature": response.signature,
      "user-handle": response.userHandle ?? new ArrayBuffer(0),
    };
  },
  create: async ({ site, challenge, person, name }) => {
    const publicKey = {
      challenge: bytes(challenge),
      rp: { id: site, name: "Holdpoint" },
      user: { id: bytes(person), name, displayName: name },
      pubKeyCredParams: [{ type: "public-key", alg: -7 }],
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
      attestation: "none",
      timeout: 120000,
    };
    const { response } = await navigator.credentials.create({ publicKey });
    return { "client-data": response.clientDataJSON, "authenticator-data": response.getAuthenticatorData() };
  },
};

const withPasskey = async (form, event) => {
  event.preventDefault();
  const said = form.querySelector(".said");
  const button = form.querySelector("button");
  said.textContent = "";
  if (!window.PublicKeyCredential) {
    said.textContent = WORDS.none;
    return;
  }
  button.disabled = true;
  try {
    const answer = await ASK[form.dataset.passkey](form.dataset);
    for (const [name, value] of Object.entries(answer)) {
      const field = document.createElement("input");
      [field.type, field.name, field.value] = ["hidden", name, text(value)];
      form.append(field);
    }
    form.submit();
  } catch (error) {
    said.textContent = WORDS[error.name] ?? `${error.name}: ${error.message}`;
    button.disabled = false;
  }
};

const HOLD_MS = 800;

const held = (button) => {
  let timer = null;
  const stop = () => {
    clearTimeout(timer);
    timer = null;
    button.classList.remove("held");
  };
  const start = (event) => {
    if (timer !== null || (event.key && event.key !== " " && event.key !== "Enter")) return;
    button.classList.add("held");
    timer = setTimeout(() => { stop(); button.form.submit(); }, HOLD_MS);
  };
  button.addEventListener("click", (event) => event.preventDefault());
  for (const name of ["pointerdown", "keydown"]) button.addEventListener(name, start);
  for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) button.addEventListener(name, stop);
};

const prepare = (root) => {
  for (const form of root.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", (event) => withPasskey(form, event));
  }
  root.querySelectorAll("button[data-hold]").forEach(held);
};

let isPressed = false;
addEventListener("pointerdown", () => { isPressed = true; }, true);
for (const name of ["click", "pointercancel"]) addEventListener(name, () => { isPressed = false; }, true);
addEventListener("pointerup", () => setTimeout(() => { isPressed = false; }), true);

// A page in which somebody types, or presses a button, stays as it is.
const isInUse = (main) => isPressed || main.querySelector("details[open]") !== null
  || [...main.querySelectorAll("input, textarea")].some((field) =>
    field === document.activeElement || (field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue));

const refresh = async () => {
  const main = document.querySelector("main");
  if (isInUse(main)) return;
  const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
  if (answer.type === "opaqueredirect") {
    location.reload();
    return;
  }
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!fresh || isInUse(main)) return;
  const focused = document.activeElement?.getAttribute?.("href");
  main.replaceChildren(...fresh.childNodes);
  prepare(main);
  if (focused) [...main.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
};

const SILENT_MS = 5000;

const AGAIN_MS = 2000;

const listen = (main) => {
  const lost = document.getElementById("lost");
  let last = Date.now();
  let state = null;
  const open = () => {
    const source = new EventSource("/events");
    source.addEventListener("beat", (event) => {
      last = Date.now();
      lost.hidden = true;
      if (main.dataset.live === "always" || (state !== null && state !== event.data)) refresh().catch(() => {});
      state = event.data;
    });
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
      // Signed out, perhaps: then the page itself leads on.
      refresh().catch(() => {});
      setTimeout(open, AGAIN_MS);
    });
  };
  open();
  setInterval(() => { lost.hidden = Date.now() - last < SILENT_MS; }, 500);
};

const watch = (screen) => {
  const said = document.getElementById("watched");
  const draw = ({ lines }) => { screen.textContent = lines.join("\n"); };
  const source = new EventSource(screen.dataset.watch);
  source.addEventListener("screen", (event) => {
    said.textContent = "";
    draw(JSON.parse(event.data));
  });
  source.addEventListener("over", (event) => {
    const over = JSON.parse(event.data);
    draw(over);
    said.textContent = `Over: ${over.in_words}.`;
    source.close();
  });
  source.addEventListener("error", () => {
    said.textContent = source.readyState === EventSource.CLOSED
      ? "This cannot be watched: it is over, or you may not."
      : "This page has lost the gate: what it shows may be old.";
  });
};

prepare(document);
document.querySelectorAll("pre[data-watch]").forEach(watch);
const main = document.querySelector("main[data-live]");
if (main) listen(main);
