// Chromium, told what to do over the DevTools protocol: messages of JSON with a zero byte behind each, over two pipes.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';

export class Chromium {
  constructor(program, more, on = () => {}) {
    this.home = mkdtempSync(`${tmpdir()}/page-`);
    this.process = spawn(program, ['--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', '--disable-extensions',
      '--window-size=1400,900', `--user-data-dir=${this.home}`, ...more, 'about:blank'],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    const [, , , to, from] = this.process.stdio;
    [this.to, this.waiting, this.calls] = [to, new Map(), 0];
    let heard = '';
    from.on('data', (bytes) => {
      const messages = (heard + bytes).split('\0');
      heard = messages.pop();
      messages.map((message) => JSON.parse(message)).forEach(({ id, error, result, method, params }) => {
        if (id) this.waiting.get(id)(error ? Promise.reject(new Error(error.message)) : result);
        else on(method, params);
      });
    });
  }

  call(method, params = {}) {
    return new Promise((resolve) => {
      this.waiting.set(++this.calls, resolve);
      this.to.write(`${JSON.stringify({ id: this.calls, sessionId: this.session, method, params })}\0`);
    });
  }

  // The one page, with everything heard that the browser says of it.
  async attach() {
    const { targetInfos } = await this.call('Target.getTargets');
    const { targetId } = targetInfos.find(({ type }) => type === 'page');
    ({ sessionId: this.session } = await this.call('Target.attachToTarget', { targetId, flatten: true }));
    for (const domain of ['Log', 'Runtime', 'Network', 'Page']) await this.call(`${domain}.enable`);
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  }

  async until(expression) {
    const deadline = Date.now() + 60_000;
    // While a page is exchanged for another, there is nothing to ask.
    while (!await this.evaluate(expression).catch(() => false)) {
      if (Date.now() > deadline) throw new Error(`it never came to ${expression}: ${await this.evaluate('document.body.innerText')}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async picture() {
    return Buffer.from((await this.call('Page.captureScreenshot')).data, 'base64');
  }

  async close() {
    const gone = new Promise((resolve) => this.process.on('exit', resolve));
    this.session = undefined;
    this.call('Browser.close');
    await gone;
    // What the browser started may still be writing.
    rmSync(this.home, { recursive: true, force: true, maxRetries: 30, retryDelay: 100 });
  }
}

// What the browser complains of.
export function complaint(method, params) {
  if (method === 'Log.entryAdded') return `${params.entry.text} ${params.entry.url ?? ''}`.trim();
  if (method === 'Runtime.consoleAPICalled') return params.args.map((arg) => arg.value).join(' ');
  if (method === 'Runtime.exceptionThrown') return params.exceptionDetails.exception?.description;
  return undefined;
}
