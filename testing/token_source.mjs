// Asks a token endpoint as livekit-client does, and tells what LiveKit's published messages consist of.
// Standard input: {"url": "…/api/token", "requests": [options, …]}; standard output: one JSON object.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const fromPage = createRequire(new URL('../web/package.json', import.meta.url));
const load = async (name) => {
  const loaded = await import(pathToFileURL(fromPage.resolve(name)).href);
  return loaded.default ?? loaded;
};
const { TokenSource } = await load('livekit-client');
const protocol = await load('@livekit/protocol');

const { url, requests } = JSON.parse(readFileSync(0, 'utf8'));
const answers = [];
for (const options of requests) {
  try {
    answers.push(await TokenSource.endpoint(url).fetch(options));
  } catch (error) {
    answers.push({ error: String(error.message) });
  }
}
const namesOf = (message) => protocol[message].fields.list().map((field) => field.name);
const messages = ['TokenSourceRequest', 'TokenSourceResponse', 'RoomConfiguration', 'RoomAgentDispatch'];
console.log(JSON.stringify({ answers, fields: Object.fromEntries(messages.map((name) => [name, namesOf(name)])) }));
