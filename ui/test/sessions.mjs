// The capture sessions of the double: they count, move, end, and have receipts that add up.

import { now_ns, rfc3339 } from './site.mjs'
import { empty, json, problem, say, stream } from './double.mjs'

/** Sessions that were there before. */
export function seed(here) {
  const [web, db] = here.site.machines
  if (!web || !db) return
  const done = begin(here, 'root', { vms: [web.name], expression: 'tcp port 443', reason: 'INC-4711: slow since noon' }, 3.9e12, web)
  done.parts[0].packets = 148_213
  done.parts[0].kernel_dropped = 18
  const other = here.site.hosts[1] ?? here.site.hosts[0]
  const first = done.parts[0]
  first.host = other.name
  first.agent = other.name
  first.ended = 'the machine moved to another host'
  const second = part(done, web, 2, done.began_ns + 1.81e12)
  second.packets = 96_040
  done.parts.push(second)
  done.notes.push({ session: done.id, host: '', at_ns: second.began_ns, text: `${web.name} moved from ${first.host} to ${second.host}`, is_refusal: false, is_in_part: true })
  end(done, 'the duration asked for is over', done.began_ns + 3.6e12)
  const empty_one = begin(here, 'ines', { vms: [db.name], expression: 'vni 9999', reason: '' }, 8.6e12, db)
  end(empty_one, 'stopped by ines', empty_one.began_ns + 4e11)
  const running = begin(here, 'root', { vms: [db.name], expression: '', reason: 'replication lag' }, 2.2e11, db)
  running.parts[0].packets = 30_112
}

/** Everything below /sessions. */
export function answer(call) {
  const { here, request, response, path, body, me } = call
  const [, id, word] = path
  if (!id && request.method === 'GET') return json(response, { items: here.sessions.map(document), next: null })
  if (!id) return ask(call)
  const session = here.sessions.find((session) => session.id === id)
  if (!session) return problem(response, 404, 'No such session', `There is no session ${id}; its packets are kept for a day after its end.`)
  const changed = () => { session.revision++; say(here, 'sessions', { sessions: [id] }) }
  if (request.method === 'DELETE') {
    here.sessions = here.sessions.filter((other) => other !== session)
    say(here, 'sessions', { sessions: [id] })
    return empty(response)
  }
  if (word === 'stop') {
    end(session, `stopped by ${me.name}`)
    changed()
    return json(response, document(session))
  }
  if (word === 'filter') {
    session.wish.expression = body.expression ?? ''
    session.notes.push(note(session, `the filter is now: ${body.expression || 'all packets'}`))
    changed()
    return json(response, document(session))
  }
  if (word === 'receipt') {
    if (session.owner !== me.name) return problem(response, 403, 'Refused', `the packets of ${id} are ${session.owner}'s alone`)
    return json(response, receipt(session))
  }
  if (word === 'capture.pcapng') {
    response.writeHead(200, { 'content-type': 'application/x-pcapng', 'content-disposition': `attachment; filename="${id}.pcapng"` })
    return response.end(Buffer.from('0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000', 'hex'))
  }
  if (word === 'packets') return packets(call, session)
  json(response, document(session))
}

/** Time goes on. */
export function tick(here) {
  for (const session of here.sessions.filter((session) => !session.ended)) {
    for (const part of session.parts.filter((part) => !part.ended)) {
      part.packets += 20 + Math.floor(15 * Math.sin(Date.now() / 2000) + 15 * Math.random())
      part.bytes = part.packets * 640
    }
    session.revision++
  }
  here.ticks = (here.ticks ?? 0) + 1
  if (here.ticks % 5 === 0) {
    for (const session of here.sessions.filter((session) => !session.ended)) say(here, 'sessions', { sessions: [session.id] })
  }
}

/** A machine has moved: its sessions follow. */
export function moved(here, machine, from) {
  for (const session of here.sessions.filter((session) => !session.ended && session.machine === machine)) {
    session.parts.at(-1).ended = 'the machine moved to another host'
    session.parts.at(-1).ended_ns = now_ns()
    session.parts.push(part(session, machine, session.parts.length + 1, now_ns()))
    session.notes.push(note(session, `${machine.name} moved from ${from} to ${machine.host}`))
    session.revision++
    say(here, 'sessions', { sessions: [session.id] })
  }
}

function ask({ here, response, body, me }) {
  const machine = here.site.machines.find((machine) => [machine.id, machine.id.slice(5), machine.name].includes(body.what[0]))
  if (!machine) return problem(response, 404, 'Not found', `No machine is called ${body.what}.`)
  if (!me.is_admin) return problem(response, 403, 'Refused', `the role viewer may not capture; it needs the role operator`)
  const session = begin(here, me.name, { vms: body.what, expression: body.expression ?? '', point: body.point ?? 'auto', snaplen: body.snaplen ?? 262144, reason: body.reason ?? '' }, 0, machine)
  say(here, 'sessions', { sessions: [session.id] })
  json(response, document(session), 201)
}

function begin(here, owner, wish, ago_ns, machine) {
  const session = {
    id: `s${(0x51c0 + here.sessions.length * 77).toString(16)}`,
    owner, machine,
    wish: { vms: [], tenants: [], expression: '', point: 'auto', snaplen: 262144, is_stripped: false, limits: { packets: null, bytes: null, until: null }, lifetime_s: 3600, reason: '', ...wish },
    began_ns: now_ns() - ago_ns, until_ns: now_ns() - ago_ns + 3.6e12,
    ended: null, ended_ns: null, parts: [], notes: [], revision: 1, awaited: [],
  }
  session.parts.push(part(session, machine, 1, session.began_ns))
  here.sessions.unshift(session)
  return session
}

function part(session, machine, number, began_ns) {
  return {
    session: session.id, agent: machine.host, host: machine.host, number, machine_id: machine.id, machine: machine.name,
    point: `port vnet${machine.i} of br-int`, began_ns, ended: null, bytes: 0, freed_bytes: 0, packets: 0, kernel_dropped: 0, failed: 0,
    receipt: null, recorded: null, clock: { ahead_ns: 120_000, uncertainty_ns: 180_000 }, is_reachable: true,
  }
}

function end(session, why, at_ns = now_ns()) {
  session.ended = why
  session.ended_ns = at_ns
  for (const part of session.parts) {
    part.ended ??= why
    part.bytes = part.packets * 640
    part.receipt = own_receipt(session, part)
  }
}

const note = (session, text) => ({ session: session.id, host: '', at_ns: now_ns(), text, is_refusal: false, is_in_part: false })

function ledger(part) {
  const not_selected = Math.floor(part.packets / 9)
  return {
    received: part.packets + part.kernel_dropped + not_selected, kernel_dropped: part.kernel_dropped, not_selected, not_mirrored: 0,
    other_tenant: 0, undecidable: 0, own_export: 0, after_limit: 0, queue_full: 0, sink_failed: part.failed,
    written: part.packets, written_bytes: part.packets * 612, sliced: 0, lost_of_mirror: 0,
  }
}

function own_receipt(session, part) {
  const own = ledger(part)
  return {
    overtap: '0.7.0', vm: part.machine, vm_id: part.machine_id, host: part.host, point: 'own port', filter: session.wish.expression || null,
    end: part.ended, interfaces: [{ label: `${part.machine}/net0 @ ${part.host}:vnet0`, interface: 'vnet0', interface_packets: own.received + 5210, passed_over: 5210, expression_in_kernel: 'attached', ...own }],
    total: own, unaccounted: 0, lost: own.kernel_dropped, events: [],
  }
}

function receipt(session) {
  const sum = {}
  const receipts = session.parts.map((part) => part.receipt ?? (session.ended ? own_receipt(session, part) : null))
  for (const own of receipts) for (const [key, count] of Object.entries(own?.total ?? {})) sum[key] = (sum[key] ?? 0) + count
  return {
    session: session.id, is_final: receipts.every(Boolean),
    total: { ...ledger({ packets: 0, kernel_dropped: 0, failed: 0 }), ...sum }, lost: sum.kernel_dropped ?? 0, unaccounted: 0,
    parts: session.parts.map((part, i) => ({ ...part_of(part), receipt: receipts[i] })), notes: notes_of(session),
  }
}

const part_of = ({ began_ns, ended, receipt: _, clock, ...part }) => ({ ...part, began: rfc3339(began_ns), end: ended, clock: { ahead_ms: clock.ahead_ns / 1e6, uncertainty_ms: clock.uncertainty_ns / 1e6 } })
const notes_of = (session) => session.notes.map(({ at_ns, host, text, is_refusal }) => ({ at: rfc3339(at_ns), host: host || null, text, is_refusal }))

/** The session as the API says it. */
function document(session) {
  const { id, owner, wish, revision, awaited } = session
  return {
    id, owner, what: wish.vms, expression: wish.expression, point: wish.point, snaplen: wish.snaplen, is_stripped: false, is_attached: false,
    when_full: 'end', last_s: 0, reason: wish.reason, state: session.ended ? 'ended' : 'running',
    began: rfc3339(session.began_ns), until: rfc3339(session.until_ns), ended: session.ended_ns ? rfc3339(session.ended_ns) : null, end: session.ended,
    is_complete: Boolean(session.ended), packets: session.parts.reduce((sum, part) => sum + part.packets, 0), bytes: session.parts.reduce((sum, part) => sum + part.bytes, 0),
    lost: session.parts.reduce((sum, part) => sum + part.kernel_dropped + part.failed, 0),
    parts: session.parts.map(part_of), notes: notes_of(session), awaited, revision,
  }
}

const STACKS = [
  { stack: ['eth', 'ipv4', 'tcp'], ports: [51422, 443] },
  { stack: ['eth', 'ipv4', 'udp', 'vxlan', 'eth', 'ipv4', 'tcp'], ports: [443, 51422], vnis: [5001] },
  { stack: ['eth', 'vlan', 'ipv4', 'udp'], ports: [40211, 53], vlans: [110] },
  { stack: ['eth', 'arp'], ports: [null, null] },
  { stack: ['eth', 'ipv6', 'icmpv6'], ports: [null, null] },
  { stack: ['eth', 'ipv4'], ports: [null, null], stop: 'tcp at 34: cut' },
]

function packets({ response }, session) {
  stream(response)
  let number = 0
  const send = () => {
    if (session.ended && number > 60) {
      response.write(`event: end\ndata: ${JSON.stringify({ packets: number, skipped: 0 })}\n\n`)
      return response.end()
    }
    for (let i = 0; i < 4; i++) {
      number++
      const { ports, ...stack } = STACKS[(number * 7) % STACKS.length]
      const end = (ip, port) => ({ mac: '52:54:00:00:00:01', ip, port })
      const packet = {
        number, time: rfc3339(now_ns()).replace('Z', '417Z'), host: session.parts.at(-1)?.host ?? '', point: '', len: 60 + (number * 137) % 1454, kept: 60 + (number * 137) % 1454,
        source: end(`10.0.0.${1 + number % 3}`, ports[0]), destination: end(`10.0.1.${1 + number % 5}`, ports[1]), transport: 'tcp', vlans: [], vnis: [], stop: null, ...stack,
      }
      response.write(`event: packet\nid: ${number}\ndata: ${JSON.stringify(packet)}\n\n`)
    }
    if (number % 40 === 0) response.write(`event: count\ndata: ${JSON.stringify({ packets: number * 3, skipped: number * 2 })}\n\n`)
  }
  const every = setInterval(send, 100)
  response.on('close', () => clearInterval(every))
}
