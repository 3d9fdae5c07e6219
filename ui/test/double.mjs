// A double of `overtap serve --web`: the page's folder and API v1, with a made-up site behind it.
//
//   node test/double.mjs [--port 7481] [--hosts 6] [--machines 34] [--busy]
//
// Any token that begins with `ovtu_` is let in; `ovtu_viewer` is nobody's administrator. With
// --busy machines move and sessions go on by themselves, to look at.

import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { document, host_at, now_ns, plan, rfc3339, site, topology } from './site.mjs'
import * as sessions from './sessions.mjs'
import * as traffic from './traffic.mjs'

const PAGE = fileURLToPath(new URL('../../crates/web/page/', import.meta.url))
const CSP = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' }

/** Starts one. `port` 0 takes any. */
export async function start({ port = 0, hosts = 6, machines = 34 } = {}) {
  const here = {
    site: site({ hosts, machines }),
    sessions: [],
    listeners: new Set(),
    people: people(),
    audit: [],
    began_ns: now_ns() - 9.3e14,
    /** Answers of everything but the page: null, or a problem to answer with. */
    broken: null,
    asked: [],
  }
  here.flows = traffic.flows(here.site)
  sessions.seed(here)
  seed_audit(here)
  const server = createServer((request, response) => {
    answer(here, request, response).catch((error) => {
      if (!response.headersSent) problem(response, 500, 'The double failed', String(error.stack ?? error))
      else response.destroy()
    })
  })
  await new Promise((done) => server.listen(port, '127.0.0.1', done))
  const tick = setInterval(() => sessions.tick(here), 200)
  return {
    here,
    url: `http://127.0.0.1:${server.address().port}`,
    /** Moves a machine and says so. */
    move(name, to) {
      const machine = here.site.machines.find((machine) => machine.name === name)
      here.site.past.push({ id: machine.id, until_ns: now_ns(), host: machine.host })
      const from = machine.host
      machine.host = to
      machine.since_ns = now_ns()
      sessions.moved(here, machine, from)
      say(here, 'machines', { hosts: [from, to] })
    },
    /** Takes a host's agent away, or brings it back. */
    connect(name, is_connected) {
      here.site.hosts.find((host) => host.name === name).is_connected = is_connected
      say(here, 'status', {})
      say(here, 'machines', { hosts: [name] })
    },
    async close() {
      clearInterval(tick)
      for (const listener of here.listeners) listener.end()
      server.closeAllConnections?.()
      await new Promise((done) => server.close(done))
    },
  }
}

/** Tells every page that something changed. */
export function say(here, event, data) {
  for (const listener of here.listeners) listener.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}

async function answer(here, request, response) {
  const url = new URL(request.url, 'http://double')
  response.setHeader('content-security-policy', CSP)
  response.setHeader('x-content-type-options', 'nosniff')
  response.setHeader('cache-control', 'no-cache')
  if (!url.pathname.startsWith('/api/v1/')) return page(url, response)
  const path = url.pathname.slice('/api/v1/'.length).split('/').map(decodeURIComponent)
  here.asked.push(`${request.method} ${url.pathname}${url.search}`)
  if (here.broken && path[0] !== 'login') return problem(response, here.broken.status, here.broken.title, here.broken.detail)
  const user = /overtap=([a-z-]+)/.exec(request.headers.cookie ?? '')?.[1]
  if (request.method !== 'GET' && !request.headers['x-overtap'] && path[0] !== 'login') {
    return problem(response, 403, 'Not from the page', 'A request that changes something needs the header X-Overtap: 1.')
  }
  const body = await read(request)
  if (path[0] === 'login') return login(request, response, body)
  if (!user) return problem(response, 401, 'Not logged in', 'Log in with a token: overtap tokens add makes one.')
  const me = { name: user, role: user === 'viewer' ? 'viewer' : 'admin', is_admin: user !== 'viewer', via: 'cookie' }
  const call = { here, request, response, url, path, body, me }
  const handler = HANDLERS[path[0]]
  if (!handler) return problem(response, 404, 'No such thing', `There is no ${url.pathname}.`)
  return handler(call)
}

const HANDLERS = {
  me: ({ response, me }) => json(response, me),
  machines({ here, response, url }) {
    const what = (url.searchParams.get('what') ?? '').toLowerCase()
    const at_ns = at(url)
    const limit = Number(url.searchParams.get('limit') ?? 100)
    const from = Number(url.searchParams.get('cursor') ?? 0)
    const hosts = new Map(here.site.hosts.map((host) => [host.name, host]))
    const found = []
    for (const machine of here.site.machines) {
      const is_it = !what || machine.id === what || machine.id.slice(5) === what || machine.name.startsWith(what) ||
        document(machine, hosts.get(machine.host)).vnics.some((vnic) => vnic.mac === what || vnic.ips.some(({ ip }) => ip === what))
      if (is_it) found.push(machine)
    }
    const items = found.slice(from, from + limit).map((machine) => {
      const host = hosts.get(host_at(here.site, machine, at_ns))
      return { host: host.name, host_state: host.is_connected ? 'connected' : 'away', seen_at: rfc3339(now_ns()), machine: document(machine, host) }
    })
    const suggestions = found.length ? [] : here.site.machines.slice(0, 3).map((machine) => machine.name)
    const next = from + limit < found.length ? String(from + limit) : null
    json(response, { items, suggestions, next })
  },
  topology({ here, response, url }) {
    const all = topology(here.site, at(url))
    const host = url.searchParams.get('host')
    json(response, host ? { hosts: all.hosts.filter(({ name }) => name === host) } : all)
  },
  plan({ here, response, url }) {
    const vm = url.searchParams.get('vm')
    const machine = here.site.machines.find((machine) => machine.id === vm || machine.id.slice(5) === vm || machine.name === vm)
    if (!machine) return problem(response, 404, 'Not found', `No machine is called ${vm}.`)
    json(response, plan(machine, here.site.hosts.find((host) => host.name === machine.host), url.searchParams.get('filter')))
  },
  filter({ response, url }) {
    const expression = url.searchParams.get('expression') ?? ''
    const bad = /\b(prot|hosst|prt)\b/.exec(expression)
    if (bad) {
      return json(response, {
        type: 'about:blank', title: 'The filter is not understood', status: 400,
        detail: `column ${bad.index + 1}: not a word of the filter language; perhaps port?`,
        mistake: { expression, column: bad.index + 1, width: bad[0].length, message: 'not a word of the filter language', suggestion: 'port' },
      }, 400, 'application/problem+json')
    }
    json(response, {
      expression, normal: expression, explanation: [`of the innermost frame:`, `  ${expression}`],
      kernel: { exact: true, passes: [], snaplen: 262144, listing: [], program: [] },
    })
  },
  sessions: (call) => sessions.answer(call),
  status: ({ here, response }) => json(response, status(here)),
  events({ here, response }) {
    stream(response)
    response.write('event: ready\ndata: {}\n\n')
    here.listeners.add(response)
    response.on('close', () => here.listeners.delete(response))
  },
  audit({ here, response, url, me }) {
    if (!me.is_admin) return refused(response, 'reading the audit log needs the role admin')
    const first = Number(url.searchParams.get('first') ?? 0)
    const limit = Number(url.searchParams.get('limit') ?? 100)
    const from = first > 0 ? first - 1 : Math.max(0, here.audit.length - limit)
    const items = here.audit.slice(from, from + limit)
    json(response, { items, next: from + limit < here.audit.length ? from + limit + 1 : null })
  },
  traffic: (call) => traffic.answer(call, json, problem),
  exporters: (call) => traffic.exporters(call, json, problem),
  users: administer('users'),
  tokens: administer('tokens'),
  grants: administer('grants'),
  agents: administer('agents'),
}

function administer(kind) {
  return ({ here, request, response, path, body, me }) => {
    const rows = here.people[kind]
    const key = kind === 'users' ? 'name' : 'id'
    if (request.method === 'GET') {
      if (!me.is_admin && (kind === 'users' || kind === 'agents')) return refused(response, 'the role viewer may not do this; it needs the role admin')
      return json(response, { items: rows, next: null })
    }
    if (!me.is_admin) return refused(response, 'the role viewer may not do this; it needs the role admin')
    if (request.method === 'DELETE') {
      here.people[kind] = rows.filter((row) => row[key] !== path[1])
      return empty(response)
    }
    if (kind === 'users' && path[1]) {
      Object.assign(rows.find((row) => row.name === path[1]), body)
      return empty(response)
    }
    if (kind === 'agents') return json(response, { id: 'f00d', token: 'ovte_made-up-and-shown-once', expires_at: body.expires_at }, 201)
    if (kind === 'tokens') {
      const id = Math.random().toString(16).slice(2, 14)
      rows.push({ id, kind: body.user ? 'user' : 'enrolment', user: body.user, agent: body.agent ?? null, uses_left: body.uses ?? 1, made_by: me.name, made_at: rfc3339(now_ns()), expires_at: body.expires_at ?? null, note: body.note ?? '' })
      return json(response, { id, token: `ovtu_${id}_made-up-and-shown-once`, expires_at: body.expires_at ?? null }, 201)
    }
    const row = kind === 'users'
      ? { is_enabled: true, made_by: me.name, made_at: rfc3339(now_ns()), note: '', tokens: 0, grants: 0, ...body }
      : { id: Math.random().toString(16).slice(2, 10), made_by: me.name, made_at: rfc3339(now_ns()), longest: null, from: null, until: null, needs_reason: false, note: '', ...body }
    if (kind === 'users' && rows.some((other) => other.name === row.name)) return problem(response, 409, 'Exists', `there is a user \`${row.name}\` already`)
    rows.push(row)
    json(response, row, 201)
  }
}

function status(here) {
  const machines = (host) => here.site.machines.filter((machine) => machine.host === host).length
  const agents = here.site.hosts.map((host, i) => ({
    id: host.name, host: host.name, version: i === 3 ? '0.6.2' : '0.7.0', state: host.is_connected ? 'connected' : 'away',
    heard: rfc3339(now_ns() - (host.is_connected ? 4e8 : 1.42e12)),
    clock: host.is_connected ? { ahead_ms: (i * 37 % 11 - 5) * 0.041 + (i === 2 ? 2.4 : 0), uncertainty_ms: 0.18 + i * 0.001 } : null,
    machines: machines(host.name),
    parts: here.sessions.filter((session) => !session.ended).flatMap((session) => session.parts).filter((part) => part.host === host.name && !part.ended).length,
    lost: i === 1 ? 42 : 0,
    problems: i === 2 ? ['libvirt: cannot connect to /run/libvirt/libvirt-sock-ro: permission denied; add the agent to the group libvirt'] : [],
  }))
  return {
    version: '0.7.0', began: rfc3339(here.began_ns), agents,
    sessions: here.sessions.filter((session) => !session.ended).length,
    machines: here.site.machines.length, resident_bytes: 87_400_000,
  }
}

function people() {
  const made = rfc3339(now_ns() - 6e14)
  const user = (name, role, note, more = {}) => ({ name, role, is_enabled: true, made_by: 'root', made_at: made, note, tokens: 1, grants: 1, ...more })
  const grant = (id, to, machines, more = {}) => ({ id, to, machines, purposes: ['capture'], snaplen: 'whole', longest: null, from: null, until: null, needs_reason: false, made_by: 'root', made_at: made, note: '', ...more })
  return {
    users: [user('root', 'admin', 'the first one', { tokens: 2 }), user('ines', 'operator', 'network team'), user('viewer', 'viewer', 'dashboard on the wall'), user('otto', 'operator', 'left in May', { is_enabled: false, tokens: 0 })],
    tokens: [
      { id: '8f3a11c09d2e', kind: 'user', user: 'root', made_by: 'root', made_at: made, expires_at: null, note: 'the first one' },
      { id: '01bd77a3e5f0', kind: 'user', user: 'ines', made_by: 'root', made_at: made, expires_at: rfc3339(now_ns() + 5e15), note: 'laptop' },
      { id: 'c41e90aa7b12', kind: 'enrolment', agent: null, uses_left: 7, made_by: 'root', made_at: made, expires_at: rfc3339(now_ns() + 6e13), note: 'rack 12' },
    ],
    grants: [
      grant('1f00aa31', 'root', ['all'], { needs_reason: true, note: 'on call' }),
      grant('77c2b04e', 'ines', ['tenant:acme', 'vm:web-*'], { snaplen: 'headers', longest: 'PT4H', until: rfc3339(now_ns() + 9e15) }),
      grant('9be1003d', 'viewer', ['all'], { purposes: ['find'] }),
    ],
    agents: [{ id: 'hv-1', at: made, by: 'c41e90aa7b12', certificates: [{ serial: '5a10', not_after: rfc3339(now_ns() + 2e15) }] }],
  }
}

function seed_audit(here) {
  const entry = (minutes, who, name, action, subject, because = null, reason = '', machines = []) => here.audit.push({
    seq: here.audit.length + 1, hash: '0'.repeat(64), at: rfc3339(now_ns() - minutes * 6e10), who, name, from: '198.51.100.7:51422',
    action, subject, machines, more_machines: 0, answer: because ? 'refused' : 'granted', because, reason,
  })
  entry(600, 'controller', null, 'serve', 'version 0.7.0')
  for (const host of here.site.hosts.slice(0, 6)) entry(599, 'agent', host.name, 'connect', 'version 0.7.0')
  entry(310, 'user', 'root', 'grant', 'add grant: ines may capture tenant:acme, vm:web-*, snaplen headers')
  entry(95, 'unknown', 'token 77aa01', 'log-in', '', 'the token is not known')
  entry(61, 'user', 'ines', 'capture', "web-01 'tcp port 443'", null, 'INC-4711', here.site.machines.slice(0, 1).map(({ id, name, tenant }) => ({ id, name, tenant })))
  entry(12, 'user', 'ines', 'capture', 'db-02', 'no grant of ines speaks of db-02')
  entry(3, 'agent', here.site.hosts[1]?.name ?? 'hv-2', 'withhold', 'db-02 changed hands from acme to globex')
}

async function page(url, response) {
  const name = url.pathname === '/' ? 'index.html' : url.pathname.slice(1)
  const type = TYPES[name.split('.').at(-1)]
  if (!type || name.includes('/')) return problem(response, 404, 'No such page', `There is no ${url.pathname}.`)
  const bytes = await readFile(PAGE + name).catch(() => null)
  if (!bytes) return problem(response, 404, 'No such page', `There is no ${url.pathname}; ui/build makes the page.`)
  response.writeHead(200, { 'content-type': type }).end(bytes)
}

function login(request, response, body) {
  if (request.method === 'DELETE') {
    response.setHeader('set-cookie', 'overtap=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict')
    return empty(response)
  }
  if (!String(body?.token ?? '').startsWith('ovtu_')) return problem(response, 401, 'Not let in', 'The token is not known. It begins with ovtu_; overtap tokens add makes one.')
  const user = body.token === 'ovtu_viewer' ? 'viewer' : 'root'
  response.setHeader('set-cookie', `overtap=${user}; Path=/; HttpOnly; SameSite=Strict`)
  empty(response)
}

const at = (url) => (url.searchParams.get('at') ? Date.parse(url.searchParams.get('at')) * 1e6 : null)
const refused = (response, detail) => problem(response, 403, 'Refused', detail)
export const empty = (response) => { response.writeHead(204).end() }

export function json(response, document, status = 200, type = 'application/json') {
  response.writeHead(status, { 'content-type': type }).end(JSON.stringify(document))
}

export function problem(response, status, title, detail) {
  json(response, { type: 'about:blank', title, status, detail }, status, 'application/problem+json')
}

/** Begins an answer of server-sent events. */
export function stream(response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.write(': begins\n\n')
}

async function read(request) {
  let text = ''
  for await (const piece of request) text += piece
  return text ? JSON.parse(text) : null
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, otherwise) => {
    const place = process.argv.indexOf(`--${name}`)
    return place < 0 ? otherwise : Number(process.argv[place + 1])
  }
  const double = await start({ port: option('port', 7481), hosts: option('hosts', 6), machines: option('machines', 34) })
  console.log(`double: ${double.url}, log in with ovtu_x`)
  if (process.argv.includes('--busy')) {
    setInterval(() => {
      const { machines, hosts } = double.here.site
      const machine = machines[Math.floor(Math.random() * machines.length)]
      double.move(machine.name, hosts[Math.floor(Math.random() * hosts.length)].name)
    }, 3000)
  }
}
