//! The live packet list: what the session sees, as it comes. The controller bounds the rate and
//! says how many it passed over; all of them are in the file.

import { useEffect, useRef, useState } from 'preact/hooks'
import { api, type Counted, type End, type Packet } from '../api'
import { clock, count } from '../format'
import { Badge, Empty, Scroll } from './basics'

export function Packets({ session, isRunning, owner, isMine }: { session: string; isRunning: boolean; owner: string; isMine: boolean }) {
  const [isAsked, ask] = useState(false)
  const isRead = isMine && (isRunning || isAsked)
  const [shown, show] = useState<Packet[]>([])
  const [counted, setCounted] = useState<Counted>({ packets: 0, skipped: 0 })
  const [state, set] = useState<'opening' | 'open' | 'over' | 'lost'>('opening')
  const [isPaused, pause] = useState(false)
  const [words, setWords] = useState('')
  const held = useRef<Packet[]>([])
  const paused = useRef(false)
  paused.current = isPaused

  useEffect(() => {
    if (!isRead) return undefined
    const source = new EventSource(api.packets(session))
    let isNew = false
    const take = (event: Event) => {
      held.current.push(JSON.parse((event as MessageEvent<string>).data) as Packet)
      if (held.current.length > 2 * MOST_KEPT) held.current = held.current.slice(-MOST_KEPT)
      isNew = true
    }
    source.onopen = () => set('open')
    source.onerror = () => set(source.readyState === EventSource.CLOSED ? 'lost' : 'opening')
    source.addEventListener('packet', take)
    source.addEventListener('count', (event) => setCounted(JSON.parse((event as MessageEvent<string>).data) as Counted))
    source.addEventListener('end', () => { set('over'); source.close(); show(held.current.slice(-MOST_KEPT)) })
    // Drawn some times a second, however many come.
    const timer = setInterval(() => {
      if (isNew && !paused.current) { isNew = false; show(held.current.slice(-MOST_KEPT)) }
    }, 200)
    return () => { clearInterval(timer); source.close() }
  }, [session, isRead])

  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const rows = wanted.length === 0 ? shown : shown.filter((packet) => { const text = textOf(packet); return wanted.every((word) => text.includes(word)) })
  const isLive = state === 'open' && isRunning
  return (
    <section class="packets" aria-labelledby="packets-title">
      <div class="section-head">
        <h2 id="packets-title">Packets</h2>
        {isLive && <Badge tone={isPaused ? 'warn' : 'good'}>{isPaused ? 'paused' : 'live'}</Badge>}
        {isRead && state === 'lost' && <Badge tone="bad">no line</Badge>}
        <span class="quiet-text">{shown.length > 0 && <>the last {count(rows.length)}{counted.packets > 0 && <> of {count(Math.max(counted.packets, shown.at(-1)?.number ?? 0))}</>}{counted.skipped > 0 && <>, {count(counted.skipped)} came too fast to be shown; all are in the file</>}</>}</span>
        <span class="push" />
        {(isRunning || shown.length > 0) && <input type="search" value={words} placeholder="Show only …" aria-label="Show only packets with these words" onInput={(event) => setWords(event.currentTarget.value)} />}
        {isRunning && <button type="button" aria-pressed={isPaused} onClick={() => pause(!isPaused)}>{isPaused ? 'Go on' : 'Pause'}</button>}
      </div>
      {rows.length === 0 ? (
        !isMine ? <Empty title={`These packets are ${owner}'s alone`}><p>Whoever asked for a capture gets its packets, nobody else.</p></Empty>
          : isRead && state !== 'over' ? <Empty title={words ? 'No packet has these words' : 'No packet yet'}><p>Packets are shown here within a second of when they are seen.</p></Empty>
            : isAsked ? <Empty title={words ? 'No packet has these words' : 'There is no packet in it'} />
              : <Empty title="The capture is over"><p>All of it is in the file: download it, or open it in Wireshark.</p><p><button type="button" onClick={() => ask(true)}>Look at its packets here</button></p></Empty>
      ) : (
        <Scroll class="packets-scroll" label="Packets, the newest first">
          <table class="dense stack">
            <thead><tr><th scope="col" class="number">No.</th><th scope="col">Time</th><th scope="col">From</th><th scope="col">To</th><th scope="col">Layers</th><th scope="col" class="number">Length</th><th scope="col">Host</th></tr></thead>
            <tbody>
              {rows.slice(-MOST_DRAWN).reverse().map((packet) => (
                <tr key={packet.number}>
                  <td class="number">{packet.number}</td>
                  <td class="mono">{clock(packet.time)}</td>
                  <td class="mono">{end(packet.source)}</td>
                  <td class="mono">{end(packet.destination)}</td>
                  <td><Layers packet={packet} /></td>
                  <td class="number">{packet.len}</td>
                  <td>{packet.host}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  )
}

/** The stack from outside in; what is inside a tunnel stands apart. */
function Layers({ packet }: { packet: Packet }) {
  return (
    <span class="layers">
      {packet.stack.map((layer, i) => <span key={i} class={TUNNELS.has(layer) ? 'layer tunnel' : 'layer'}>{layer}</span>)}
      {packet.vlans.map((vlan, i) => <span key={`v${i}`} class="layer id">VLAN {vlan}</span>)}
      {packet.vnis.map((vni, i) => <span key={`n${i}`} class="layer id">VNI {vni}</span>)}
      {packet.kept < packet.len && <span class="layer" title={`${packet.kept} of ${packet.len} bytes were kept`}>sliced</span>}
      {packet.stop && <span class="layer stop" title={packet.stop}>not understood: {packet.stop}</span>}
    </span>
  )
}

function end({ ip, mac, port }: End): string {
  if (!ip) return mac ?? '–'
  if (port === null) return ip
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

const textOf = (packet: Packet): string =>
  [end(packet.source), end(packet.destination), packet.source.mac, packet.destination.mac, ...packet.stack, packet.host, ...packet.vlans.map((vlan) => `vlan ${vlan}`), ...packet.vnis.map((vni) => `vni ${vni}`)].join(' ').toLowerCase()

const TUNNELS = new Set(['vxlan', 'vxlan-gpe', 'geneve', 'gre', 'nvgre', 'erspan', 'mpls', 'gtpu', 'gtp-u', 'vn-tag', 'e-tag', 'vntag', 'etag', 'nsh', 'tzsp'])
const MOST_KEPT = 2000
const MOST_DRAWN = 200
