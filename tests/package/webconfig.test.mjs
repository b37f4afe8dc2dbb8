// web.config against what IIS and HttpPlatformHandler publish of their configuration: a name they do not know, or a value out
// of its range, is error 500.19 on every request.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const text = readFileSync(new URL('../../web.config', import.meta.url), 'utf8');

// Types of values; each says whether a text is one.
const string = (value) => value.length > 0;
const bool = (value) => ['true', 'false'].includes(value);
const oneOf = (...names) => (value) => names.includes(value);
const integer = (least, most) => (value) => /^\d+$/.test(value) && Number(value) >= least && Number(value) <= most;
const uint = integer(0, 2 ** 32 - 1);
/** hh:mm:ss or d.hh:mm:ss; a multiple of `step` seconds. */
const timeSpan = (step) => (value) => {
  const found = /^(?:(\d+)\.)?(\d\d):(\d\d):(\d\d)$/.exec(value);
  if (!found) return false;
  const [days = 0, hours, minutes, seconds] = found.slice(1).map((part) => Number(part ?? 0));
  return hours < 24 && minutes < 60 && seconds < 60 && (((days * 24 + hours) * 60 + minutes) * 60 + seconds) % step === 0;
};

// Elements, their attributes (those with ! must be there) and children, of IIS as far as a site like ours uses it. Sources:
// learn.microsoft.com/iis/configuration/system.webserver/ websocket, httperrors, handlers/add (attributes of each element);
// learn.microsoft.com/iis/extensions/httpplatformhandler/httpplatformhandler-configuration-reference, and the schema file
// that the module installs, for what they leave open: whole minutes of requestTimeout, at most 100 processes.
const SCHEMA = {
  attributes: {},
  children: {
    'system.webServer': {
      attributes: {},
      children: {
        webSocket: { attributes: { enabled: bool, pingInterval: timeSpan(1), receiveBufferLimit: uint } },
        httpErrors: {
          attributes: {
            allowAbsolutePathsWhenDelegated: bool,
            defaultPath: string,
            defaultResponseMode: oneOf('File', 'ExecuteURL', 'Redirect'),
            detailedMoreInformationLink: string,
            errorMode: oneOf('DetailedLocalOnly', 'Custom', 'Detailed'),
            existingResponse: oneOf('Auto', 'Replace', 'PassThrough'),
          },
        },
        handlers: {
          attributes: { accessPolicy: string },
          children: {
            add: {
              many: true,
              attributes: {
                'name!': string,
                'path!': string,
                'verb!': string,
                type: string,
                modules: string,
                scriptProcessor: string,
                preCondition: string,
                allowPathInfo: bool,
                resourceType: oneOf('Directory', 'Either', 'File', 'Unspecified'),
                requireAccess: oneOf('None', 'Read', 'Write', 'Script', 'Execute'),
                responseBufferLimit: uint,
              },
            },
          },
        },
        httpPlatform: {
          attributes: {
            'processPath!': string,
            arguments: string,
            startupTimeLimit: uint,
            startupRetryCount: uint,
            rapidFailsPerMinute: integer(0, 100),
            requestTimeout: timeSpan(60),
            stdoutLogEnabled: bool,
            stdoutLogFile: string,
            processesPerApplication: integer(1, 100),
            forwardWindowsAuthToken: bool,
          },
          children: {
            environmentVariables: {
              attributes: {},
              children: { environmentVariable: { many: true, attributes: { 'name!': string, 'value!': () => true } } },
            },
          },
        },
      },
    },
  },
};

/** The tree of an XML document, by a real parser: `[name, attributes, children]`. What is not well-formed throws. */
function parse(xml) {
  const program = `
import json, sys, xml.etree.ElementTree as tree
walk = lambda element: [element.tag, element.attrib, [walk(child) for child in element], (element.text or '').strip()]
json.dump(walk(tree.fromstring(sys.stdin.buffer.read())), sys.stdout)`;
  const { status, stdout, stderr } = spawnSync('python3', ['-c', program], { input: xml, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr.trim().split('\n').at(-1));
  return JSON.parse(stdout);
}

/** Everything in which an element differs from the schema, one line each. */
function faults([name, attributes, children, content], schema) {
  const found = content ? [`text in ${name}`] : [];
  for (const key of Object.keys(schema.attributes)) {
    if (key.endsWith('!') && !(key.slice(0, -1) in attributes)) found.push(`${name} lacks ${key.slice(0, -1)}`);
  }
  for (const [key, value] of Object.entries(attributes)) {
    const type = schema.attributes[key] ?? schema.attributes[`${key}!`];
    if (!type) found.push(`${name} has no ${key}`);
    else if (!type(value)) found.push(`${name} ${key}="${value}"`);
  }
  const seen = new Set();
  for (const child of children) {
    const below = schema.children?.[child[0]];
    if (!below) found.push(`${name} has no <${child[0]}>`);
    else {
      if (seen.has(child[0]) && !below.many) found.push(`two <${child[0]}>`);
      seen.add(child[0]);
      found.push(...faults(child, below));
    }
  }
  return found;
}

const judge = (xml) => {
  const root = parse(xml);
  return root[0] === 'configuration' ? faults(root, SCHEMA) : [`the root is ${root[0]}`];
};

test('web.config is well-formed, and all of it is known', () => assert.deepEqual(judge(text), []));

test('web.config says what salon needs', () => {
  const [, , [[, , sections]]] = parse(text);
  const { handlers, webSocket, httpErrors, httpPlatform } = Object.fromEntries(sections.map((section) => [section[0], section]));
  // The module of all requests is the one whose section starts salon.exe, beside this file.
  const [[, handler]] = handlers[2];
  assert.deepEqual([handler.path, handler.verb, handler.modules], ['*', '*', 'httpPlatformHandler']);
  assert.equal(handler.resourceType, 'Unspecified'); // or requests for files that are not there would be 404
  assert.equal(httpPlatform[1].processPath, '.\\salon.exe');
  assert.equal(httpPlatform[1].processesPerApplication, '1'); // sessions are in one process
  assert.equal(webSocket[1].enabled, 'true'); // unlike with iisnode
  assert.equal(httpErrors[1].existingResponse, 'PassThrough');
});

test('what IIS would refuse is found', () => {
  for (const [from, to, fault] of [
    ['enabled="true"', 'enabled="yes"', 'webSocket enabled="yes"'],
    ['startupTimeLimit="20"', 'requestTimeout="00:00:30"', 'httpPlatform requestTimeout="00:00:30"'],
    ['startupTimeLimit="20"', 'requestTimeout="240"', 'httpPlatform requestTimeout="240"'],
    ['startupTimeLimit="20"', 'startUpTimeLimit="20"', 'httpPlatform has no startUpTimeLimit'],
    ['processesPerApplication="1"', 'processesPerApplication="0"', 'httpPlatform processesPerApplication="0"'],
    ['processPath=".\\salon.exe"', '', 'httpPlatform lacks processPath'],
    ['<httpErrors ', '<aspNetCore ', 'system.webServer has no <aspNetCore>'],
    ['<httpErrors ', '<webSocket /><httpErrors ', 'two <webSocket>'],
    ['PassThrough', 'passthrough', 'httpErrors existingResponse="passthrough"'],
    ['resourceType="Unspecified"', 'resourceType="Any"', 'add resourceType="Any"'],
  ]) {
    assert.ok(text.includes(from), from);
    assert.deepEqual(judge(text.replace(from, to)), [fault]);
  }
  assert.equal(judge(text.replace('startupTimeLimit="20"', 'requestTimeout="00:04:00"')).length, 0);
  assert.throws(() => judge(text.replace('</handlers>', '')), /ParseError/);
});
