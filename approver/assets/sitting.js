"use strict";
// What all pages have in common that show a target: the WebSocket to the gate, what the gate says beside the bytes, and the end.

const SITTING = {
  open: "open",
  over: "closed",
  lost: "The line to the gate broke, and your session ended as if you had hung up. Open it again on the page of your grant.",
  notOpened: "The gate did not take this page: you may be signed out. Sign in, and open it on the page of your grant.",
  closed: "You closed it, and your session ended.",
};

const at = (id) => document.getElementById(id);
const TOLD_MAX = 100;
const PIECE = 16 * 1024;
const DRAWN = 32 * 1024;
const createElement = document.createElement.bind(document);

const told = (words) => {
  const line = createElement("p");
  line.textContent = words;
  at("told").append(line);
  if (at("told").children.length > TOLD_MAX) at("told").firstElementChild.remove();
  at("told").scrollTop = at("told").scrollHeight;
};

const ended = (words) => {
  at("close").disabled = true;
  at("state").textContent = SITTING.over;
  at("why").textContent = words;
  at("over").hidden = false;
  at("over").focus();
};

// Characters that nobody sees, shown as signs.
const HIDDEN = /(?![\t\n])[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}]/gu;
const sign = (hidden) => `\u27e8${hidden.codePointAt(0).toString(16)}\u27e9`;

// `connected`: it is a WebSocket. `opened`: the target is reached from now on. `takes`: bytes of its. `heard`: what the gate says on
// this kind of page alone, and to which question. `ends`: it is over.
const sit = (ticket, { connected = () => {}, opened, takes, heard = {}, ends }) => {
  const socket = new WebSocket(`wss://${location.host}/sitting`, ["holdpoint-sitting", ticket]);
  socket.binaryType = "arraybuffer";
  let [wasConnected, isOpen, isOver, drawn] = [false, false, false, 0];
  const say = (said) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(said));
  const over = (words) => {
    if (isOver) return;
    [isOpen, isOver] = [false, true];
    ends();
    ended(words);
  };
  const hears = {
    opened: () => {
      isOpen = true;
      at("state").textContent = SITTING.open;
      opened();
    },
    told: ({ words }) => told(words),
    over: ({ words }) => over(words),
    ...heard,
  };
  const leave = (words) => {
    over(words);
    socket.close();
  };
  socket.addEventListener("open", () => {
    wasConnected = true;
    connected();
  });
  socket.addEventListener("message", ({ data }) => {
    if (typeof data !== "string") takes(data);
    else {
      const heardNow = JSON.parse(data);
      for (const [what, said] of Object.entries(heardNow)) hears[what]?.(said, heardNow.n);
    }
  });
  socket.addEventListener("close", () => over(wasConnected ? SITTING.lost : SITTING.notOpened));
  at("close").addEventListener("click", () => leave(SITTING.closed));
  // A key that closes the tab shall not end the work.
  addEventListener("beforeunload", (event) => {
    if (isOpen) event.preventDefault();
  });
  return {
    say,
    leave,
    isOpen: () => isOpen,
    isOver: () => isOver,
    send: (bytes) => {
      if (!isOpen || socket.readyState !== WebSocket.OPEN) return;
      for (let from = 0; from < bytes.length; from += PIECE) socket.send(bytes.subarray(from, from + PIECE));
    },
    // The gate goes on once it is drawn, so that a browser that is slow holds no more than it can.
    drew: (bytes) => {
      drawn += bytes;
      if (drawn < DRAWN) return;
      say({ drawn: { bytes: drawn } });
      drawn = 0;
    },
  };
};
