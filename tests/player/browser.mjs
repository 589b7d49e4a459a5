// A browser with a passkey, which does what it is told: one JSON object a line comes in, one goes out.
//
//   node browser.mjs CHROMIUM HOST ADDRESS

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { connect } from 'node:tls';

import { Chromium, complaint } from './cdp.mjs';

const [program, host, address] = process.argv.slice(2);
const [name, port] = [address.slice(0, address.lastIndexOf(':')), Number(address.slice(address.lastIndexOf(':') + 1))];
// The certificate is taken as if the gate's CA were installed: by its key, and no other one.
const key = await new Promise((resolve, reject) => {
  const socket = connect({ host: name, port, servername: host, rejectUnauthorized: false }, () => {
    resolve(createHash('sha256').update(socket.getPeerX509Certificate().publicKey.export({ type: 'spki', format: 'der' })).digest('base64'));
    socket.destroy();
  });
  socket.on('error', reject);
});
const complaints = [];
// Nothing outside this machine is asked, whatever a page names.
const names = `MAP ${host} ${address}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost`;
const browser = new Chromium(program, [`--host-resolver-rules=${names}`, `--ignore-certificate-errors-spki-list=${key}`],
  (method, params) => {
    const said = complaint(method, params);
    if (said) complaints.push(said);
  });
await browser.attach();

const quoted = JSON.stringify;
// A button, a link or a summary with these words.
const found = (words) => `[...document.querySelectorAll('button, a, summary')].find((one) => one.textContent.includes(${quoted(words)}))`;
// Where it is, once its page stands still: what is found may be gone a moment later, with its page.
async function point(words) {
  for (;;) {
    await browser.until(`document.readyState === 'complete' && ${found(words)}`);
    const at = await browser.evaluate(`(() => { const one = ${found(words)}; if (!one) return null;
      one.scrollIntoView({ block: 'center' });
      const { x, y, width, height } = one.getBoundingClientRect(); return { x: x + width / 2, y: y + height / 2 }; })()`);
    if (at) return at;
  }
}
const mouse = (type, { x, y }) => browser.call('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });

// A key that the numbers of letters and digits do not name: any of those that are none of the cursor's.
const PUNCTUATION = 222;

const DO = {
  // A page of which nothing is there yet says of nothing that it is not there.
  open: async ({ url }) => {
    await browser.call('Page.navigate', { url });
    await browser.until("document.readyState === 'complete'");
  },
  passkey: async () => {
    await browser.call('WebAuthn.enable');
    const options = { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
      isUserVerified: true, automaticPresenceSimulation: true };
    return (await browser.call('WebAuthn.addVirtualAuthenticator', { options })).authenticatorId;
  },
  verified: ({ authenticator, is }) =>
    browser.call('WebAuthn.setUserVerified', { authenticatorId: authenticator, isUserVerified: is }),
  trust: () => browser.call('Security.setIgnoreCertificateErrors', { ignore: true }),
  says: ({ words }) => browser.until(`document.body.innerText.includes(${quoted(words)})`),
  until: ({ code }) => browser.until(code),
  evaluate: ({ code }) => browser.evaluate(code),
  fill: async ({ field, value }) => {
    await browser.until(`document.querySelector(${quoted(field)})`);
    await browser.evaluate(`(() => { const one = document.querySelector(${quoted(field)}); one.focus(); one.value = ${quoted(value)}; })()`);
  },
  chooses: async ({ field, file }) => {
    const { result } = await browser.call('Runtime.evaluate', { expression: `document.querySelector(${quoted(field)})` });
    await browser.call('DOM.setFileInputFiles', { files: [file], objectId: result.objectId });
  },
  click: async ({ words }) => {
    const at = await point(words);
    await mouse('mousePressed', at);
    await mouse('mouseReleased', at);
  },
  // On something that has no words, so far from its left and its top edge.
  clickOn: async ({ selector, parts }) => {
    const { x, y, width, height } = await browser.evaluate(`(() => { const one = document.querySelector(${quoted(selector)});
      one.scrollIntoView({ block: 'center' }); return one.getBoundingClientRect().toJSON(); })()`);
    const at = { x: x + width * parts[0], y: y + height * parts[1] };
    await browser.call('Input.dispatchMouseEvent', { type: 'mouseMoved', ...at });
    await mouse('mousePressed', at);
    await mouse('mouseReleased', at);
  },
  // Key by key, as a person does; a carriage return is Enter.
  types: async ({ text }) => {
    for (const key of text) {
      const named = { '\r': ['Enter', 13], '\x03': ['c', 67, 2], '\x1b': ['Escape', 27] }[key]
        ?? [key, /[a-z0-9 ]/i.test(key) ? key.toUpperCase().charCodeAt(0) : PUNCTUATION];
      const [name, code, modifiers = 0] = named;
      const at = { key: name, windowsVirtualKeyCode: code, modifiers };
      const types = key === '\r' || key >= ' ' ? { text: key } : {};
      await browser.call('Input.dispatchKeyEvent', { type: types.text ? 'keyDown' : 'rawKeyDown', ...at, ...types });
      await browser.call('Input.dispatchKeyEvent', { type: 'keyUp', ...at });
    }
  },
  press: async ({ words }) => mouse('mousePressed', await point(words)),
  picture: async ({ file }) => writeFileSync(file, await browser.picture()),
  cookie: async () => (await browser.call('Network.getCookies')).cookies.map(({ name, value }) => `${name}=${value}`).join('; '),
  // What WCAG 2.2 AA forbids and axe-core finds, in light and in dark.
  axe: async ({ axe }) => {
    await browser.evaluate(readFileSync(axe, 'utf8'));
    const found = [];
    for (const value of ['light', 'dark']) {
      await browser.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
      found.push(...await browser.evaluate(`axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
        .then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))`));
    }
    return found;
  },
  // Where what it downloads is kept.
  downloads: ({ folder }) => browser.call('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder }),
  complaints: () => complaints.splice(0),
};

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  const answer = await Promise.resolve().then(() => DO[told.do](told)).then((value) => ({ value }), (error) => ({ error: error.message }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
