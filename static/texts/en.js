// English. Every language has the same keys; a text with arguments is a function.
import { clock, list } from '../texts.js';

const TRANSPORTS = { polling: 'polling', websocket: 'WebSocket' };

export default {
  question: 'What is your name?',
  join: 'Join the chat',
  nameless: 'Please enter a name.',
  unfit: (reason) => `Not taken: ${reason}.`,
  messages: 'Messages',
  message: 'Message',
  send: 'Send',
  people: (count) => (count === 1 ? '1 person' : `${count} people`),
  you: (name) => `${name} (you)`,
  others: (count) => (count === 1 ? '1 other' : `${count} others`),
  several: 'Several people',
  typing: (subject, many) => `${subject} ${many ? 'are' : 'is'} typing…`,
  came: (names) => `${list(names)} joined`,
  went: (names) => `${list(names)} left`,
  passed: (names) => `${list(names)} came and went`,
  returned: (names) => `${list(names)} left and came back`,
  sending: 'Sending…',
  failed: 'Not sent.',
  refused: (reason) => `Not sent: ${reason}.`,
  retry: 'Retry',
  news: (count) => (count === 1 ? '1 new message' : `${count} new messages`),
  gap: 'Something may be missing here.',
  connecting: 'Connecting…',
  offline: (since) => `Offline since ${clock(since)}. Trying to connect again…`,
  back: 'Connected again.',
  ended: 'The server ended the connection.',
  again: 'Connect again',
  about: (transport, host, server) => `Connected to ${host}${server ? ` (${server})` : ''} over ${TRANSPORTS[transport]}.`,
  notify: 'Notifications',
  blocked: 'Your browser blocks notifications of this site.',
  leave: 'Leave',
  other: 'Français',
};
