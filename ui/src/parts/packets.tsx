//! The live packet list: what the session sees, as it comes. The controller bounds the rate and
//! says how many it passed over; all of them are in the file.

import { useEffect, useRef, useState } from 'preact/hooks'
import { api, type Packet } from '../api'
import { clock, count } from '../format'
import { Badge, Empty } from './basics'

export function Packets({ session, isRunning }: { session: string; isRunning: boolean }) {
  const [shown, show] = useState<Packet[]>([])
  const [skipped, setSkipped] = useState(0)
  const [state, set] = useState<'opening' | 'open' | 'over' | 'lost'>('opening')
  const [isPaused, pause] = useState(false)
  const [words, setWords] = useState('')
  const held = useRef<Packet[]>([])
  const paused = useRef(false)
  paused.current = isPaused

  useEffect(() => {
    if (!isRunning) return undefined
    const source = new EventSource(api.packets(session))
    let isNew = false
    const take = (event: Event) => {
      held.current.push(packetOf(JSON.parse((event as MessageEvent<string>).data)))
      if (held.current.length > 2 * MOST_KEPT) held.current = held.current.slice(-MOST_KEPT)
      isNew = true
    }
    source.onopen = () => set('open')
    source.onmessage = take
    source.onerror = () => set(source.readyState === EventSource.CLOSED ? 'lost' : 'opening')
    source.addEventListener('packet', take)
    source.addEventListener('skipped', (event) => {
      const said = JSON.parse((event as MessageEvent<string>).data) as { packets?: number; skipped?: number }
      setSkipped((before) => before + (said.packets ?? said.skipped ?? 0))
    })
    source.addEventListener('end', () => { set('over'); source.close() })
    // Drawn some times a second, however many come.
    const timer = setInterval(() => {
      if (isNew && !paused.current) { isNew = false; show(held.current.slice(-MOST_KEPT)) }
    }, 200)
    return () => { clearInterval(timer); source.close() }
  }, [session, isRunning])

  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const rows = wanted.length === 0 ? shown : shown.filter((packet) => { const text = textOf(packet); return wanted.every((word) => text.includes(word)) })
  const isLive = state === 'open' && isRunning
  return (
    <section class="packets" aria-labelledby="packets-title">
      <div class="section-head">
        <h2 id="packets-title">Packets</h2>
        {isLive && <Badge tone={isPaused ? 'warn' : 'good'}>{isPaused ? 'paused' : 'live'}</Badge>}
        {isRunning && state === 'lost' && <Badge tone="bad">no line</Badge>}
        <span class="quiet-text">{shown.length > 0 && <>the last {count(rows.length)}{skipped > 0 && <>, {count(skipped)} passed over here (all are in the file)</>}</>}</span>
        <span class="push" />
        <input type="search" value={words} placeholder="Show only …" aria-label="Show only packets with these words" onInput={(event) => setWords(event.currentTarget.value)} />
        <button type="button" aria-pressed={isPaused} disabled={!isRunning} onClick={() => pause(!isPaused)}>{isPaused ? 'Go on' : 'Pause'}</button>
      </div>
      {rows.length === 0 ? (
        <Empty title={isRunning ? (words ? 'No packet has these words' : 'No packet yet') : 'The capture is over'}>
          {isRunning ? <p>Packets are shown here within a second of when they are seen.</p> : <p>Its packets are in the file: download it, or open it in Wireshark.</p>}
        </Empty>
      ) : (
        <div class="scroll packets-scroll" tabIndex={0} role="region" aria-label="Packets, the newest first">
          <table class="dense">
            <thead><tr><th scope="col" class="number">No.</th><th scope="col">Time</th><th scope="col">From</th><th scope="col">To</th><th scope="col">Layers</th><th scope="col" class="number">Length</th><th scope="col">Host</th></tr></thead>
            <tbody>
              {rows.slice(-MOST_DRAWN).reverse().map((packet) => (
                <tr key={packet.number}>
                  <td class="number">{packet.number}</td>
                  <td class="mono">{clock(packet.time)}</td>
                  <td class="mono">{end(packet.source, packet.source_port)}</td>
                  <td class="mono">{end(packet.destination, packet.destination_port)}</td>
                  <td><Layers packet={packet} /></td>
                  <td class="number">{packet.length}</td>
                  <td>{packet.host}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}

/** The stack from outside in; what is inside a tunnel stands apart. */
function Layers({ packet }: { packet: Packet }) {
  const ids = Object.entries(packet.ids ?? {}).filter(([, id]) => id !== null)
  return (
    <span class="layers">
      {packet.layers.map((layer, i) => <span key={i} class={`layer ${TUNNELS.has(layer.split(' ')[0]!.toLowerCase()) ? 'tunnel' : ''}`}>{layer}</span>)}
      {ids.map(([name, id]) => <span key={name} class="layer id">{name} {id}</span>)}
    </span>
  )
}

const packetOf = (said: Packet): Packet => ({ ...said, layers: said.layers ?? [] })
const end = (address: string | null, port: number | null): string => (address ? (port === null || port === undefined ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`) : '–')
const textOf = (packet: Packet): string =>
  `${packet.source} ${packet.source_port} ${packet.destination} ${packet.destination_port} ${packet.layers.join(' ')} ${packet.host} ${Object.entries(packet.ids ?? {}).flat().join(' ')}`.toLowerCase()

const TUNNELS = new Set(['vxlan', 'geneve', 'gre', 'nvgre', 'erspan', 'mpls', 'gtpu', 'gtp-u', 'vn-tag', 'e-tag', 'vntag', 'etag'])
const MOST_KEPT = 2000
const MOST_DRAWN = 200
