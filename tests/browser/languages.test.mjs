// The languages of the page: all have the same texts, with the same arguments.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';

const FOLDER = new URL('../../static/texts/', import.meta.url);
const common = { clock: String, list: (names) => [names].flat().join(), reason: String };
const languages = {};
for (const file of readdirSync(FOLDER)) languages[file.slice(0, 2)] = (await import(new URL(file, FOLDER))).default(common);

test('every language has the same keys, in the same order, and texts with as many arguments', () => {
  assert.deepEqual(Object.keys(languages).toSorted(), ['de', 'en', 'es', 'fr']);
  const shape = (texts) => Object.entries(texts).map(([key, text]) => [key, typeof text, text.length !== undefined && typeof text === 'function' ? text.length : 0]);
  for (const texts of Object.values(languages)) assert.deepEqual(shape(texts), shape(languages.en));
});

test('no text is empty, and one and many differ', () => {
  for (const [language, texts] of Object.entries(languages)) {
    for (const [key, text] of Object.entries(texts)) if (typeof text === 'string') assert.ok(text.trim(), `${language}: ${key}`);
    for (const key of ['people', 'news', 'others', 'present']) assert.notEqual(texts[key](1).replace('1', '2'), key === 'others' && language !== 'en' && language !== 'fr' ? '' : texts[key](2), `${language}: ${key}`);
  }
});

test('the counter says how many bytes are left, or too many', () => {
  for (const [language, { left }] of Object.entries(languages)) {
    assert.match(left(-3), /^[^-]*3/, language);
    assert.notEqual(left(-3), left(3), language);
  }
});

test('French has no-break spaces before its double punctuation', () => {
  for (const [key, text] of Object.entries(languages.fr)) {
    const said = [text, ...(typeof text === 'function' ? ['2', 'x'].map((argument) => text(argument, 'y')) : [])].filter((said) => typeof said === 'string');
    for (const one of said) assert.doesNotMatch(one, / [?!:;»]/, key);
  }
});
