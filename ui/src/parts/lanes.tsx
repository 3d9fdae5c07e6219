//! Which host captured when: one lane for each host, and the moves between them.

import type { Part, Session } from '../api'
import { count, span, when } from '../format'

export function Lanes({ session, now }: { session: Session; now: number }) {
  const began = (part: Part) => Date.parse(part.began)
  const first = Math.min(Date.parse(session.began), ...session.parts.map(began))
  const last = Math.max(session.ended ? Date.parse(session.ended) : now, first + 1000)
  const hosts = [...new Set(session.parts.map((part) => part.host))]
  const share = (ms: number) => 100 * Math.min(1, Math.max(0, (ms - first) / (last - first)))
  const after = (part: Part) => session.parts
    .filter((other) => other.machine_id === part.machine_id && began(other) > began(part))
    .sort((one, other) => began(one) - began(other))[0]
  const moves = session.parts.flatMap((part) => {
    const next = after(part)
    return next && next.host !== part.host ? [{ machine: part.machine, from: part.host, to: next.host, at: began(next) }] : []
  })
  return (
    <div class="lanes">
      <ul aria-label="Hosts that captured">
        {hosts.map((host) => (
          <li key={host}>
            <span class="lane-name">{host}</span>
            <span class="lane">
              {session.parts.filter((part) => part.host === host).map((part) => {
                const next = after(part)
                const left = share(began(part))
                const right = share(part.end && next ? began(next) : last)
                return (
                  <span key={`${part.agent}${part.number}`} class={part.end ? 'bar' : 'bar running'} title={`${part.machine}: ${part.point}`}
                    style={{ left: `${left}%`, width: `${Math.max(right - left, 0.4)}%` }}>
                    <span>{right - left > 12 ? count(part.packets) : ''}</span>
                  </span>
                )
              })}
            </span>
          </li>
        ))}
      </ul>
      <p class="lane-ends"><span>{when(first)}</span><span>{span((last - first) / 1000)}</span><span>{session.ended ? when(last) : 'now'}</span></p>
      {moves.length > 0 && (
        <ul class="moves">
          {moves.map((move) => <li key={move.at}><b>{move.machine}</b> moved {move.from} → {move.to} at {when(move.at)}</li>)}
        </ul>
      )}
      {moves.length > 0 && <p class="quiet-text">For how long it was silent, measured on its own packets, stands in the file: <code>overtap receipt {session.id}.pcapng</code></p>}
    </div>
  )
}
