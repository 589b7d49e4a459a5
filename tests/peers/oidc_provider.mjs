// An OpenID provider on loopback: oidc-provider of the npm registry, with its own login pages, which believe any password.
//
//   node oidc_provider.mjs PORT ACCOUNTS SECRET CLIENT=REDIRECT...        run where node_modules has oidc-provider
//
// ACCOUNTS is a file of JSON, read anew for each login: what it claims of each account, by the name that is typed. Each CLIENT has the
// secret. Says `port PORT` when it listens.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const found = createRequire(`${process.cwd()}/`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(found));

const [port, accounts, secret, ...clients] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: clients.map((client) => client.split('=')).map(([client_id, redirect]) => ({
    client_id, client_secret: secret, redirect_uris: [redirect], grant_types: ['authorization_code'],
  })),
  claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'], groups: ['groups', 'amr'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  // Everything in the ID token: the gate asks no further.
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...JSON.parse(readFileSync(accounts, 'utf8'))[id] }) }),
  pkce: { required: () => true },
  cookies: { keys: ['for tests only'] },
});
http.createServer(provider.callback()).listen(Number(port), '127.0.0.1', () => console.log(`port ${port}`));
