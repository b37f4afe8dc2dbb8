// French.
import { clock, list } from '../texts.js';

const TRANSPORTS = { polling: 'polling', websocket: 'WebSocket' };
const REASONS = { 'too long': 'trop long' }; // what the server says that a page can cause

export default {
  question: 'Comment vous appelez-vous ?',
  join: 'Entrer dans le salon',
  nameless: 'Veuillez saisir un nom.',
  unfit: (reason) => `Refusé : ${REASONS[reason] ?? reason}.`,
  messages: 'Messages',
  message: 'Message',
  send: 'Envoyer',
  people: (count) => (count < 2 ? `${count} personne` : `${count} personnes`),
  you: (name) => `${name} (vous)`,
  others: (count) => (count < 2 ? `${count} autre` : `${count} autres`),
  several: 'Plusieurs personnes',
  typing: (subject, many) => `${subject} ${many ? 'écrivent' : 'écrit'}…`,
  came: (names) => `${list(names)} ${names.length > 1 ? 'ont' : 'a'} rejoint le salon`,
  went: (names) => `${list(names)} ${names.length > 1 ? 'ont' : 'a'} quitté le salon`,
  passed: (names) => `${list(names)} ${names.length > 1 ? 'n’ont' : 'n’a'} fait que passer`,
  returned: (names) => `${list(names)} ${names.length > 1 ? 'sont' : 'est'} de retour`,
  sending: 'Envoi…',
  failed: 'Pas envoyé.',
  refused: (reason) => `Pas envoyé : ${REASONS[reason] ?? reason}.`,
  retry: 'Réessayer',
  news: (count) => (count < 2 ? `${count} nouveau message` : `${count} nouveaux messages`),
  gap: 'Il manque peut-être quelque chose ici.',
  connecting: 'Connexion…',
  offline: (since) => `Hors ligne depuis ${clock(since)}. Nouvelle tentative…`,
  back: 'Connexion rétablie.',
  ended: 'Le serveur a mis fin à la connexion.',
  again: 'Se reconnecter',
  about: (transport, host, server) => `Connecté à ${host}${server ? ` (${server})` : ''} par ${TRANSPORTS[transport]}.`,
  notify: 'Notifications',
  blocked: 'Votre navigateur bloque les notifications de ce site.',
  leave: 'Quitter',
  other: 'English',
};
