//! The capture dialog: where it looks and what that misses, in plain words, and one button to begin.

import { useEffect, useRef, useState } from 'preact/hooks'
import { api, type Machine, type Plan, type Point, Problem } from '../api'
import { go, link } from '../route'
import { Dialog, Waiting, Wrong } from './basics'
import { FilterField } from './filter'

export function CaptureDialog({ machine, filter = '', close }: { machine: Machine; filter?: string; close: () => void }) {
  const [plan, setPlan] = useState<Plan | null>(null)
  const [problem, set] = useState<Problem | null>(null)
  const [point, choose] = useState('auto')
  const [expression, setExpression] = useState(filter)
  const [isBad, setBad] = useState(false)
  const [duration, setDuration] = useState(3600)
  const [snaplen, setSnaplen] = useState(262_144)
  const [reason, setReason] = useState('')
  const [isBusy, busy] = useState(false)
  const begin = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    api.plan(machine.id, '').then(setPlan, set)
    begin.current?.focus()
  }, [machine.id])

  const start = async (event: Event) => {
    event.preventDefault()
    if (isBad) return
    busy(true)
    set(null)
    try {
      const session = await api.capture({ what: [machine.id], expression: expression.trim(), point, snaplen, duration_s: duration, reason: reason.trim(), detach: true })
      go(link(['capture', session.id]))
    } catch (error) {
      set(error as Problem)
      busy(false)
    }
  }
  const usable = plan?.points.filter((point) => !point.refusal) ?? []
  return (
    <Dialog title={`Capture ${machine.name}`} close={close} wide>
      <form onSubmit={start}>
        {problem && <Wrong problem={problem} />}
        {!plan && !problem && <Waiting what="the plan" />}
        {plan && usable.length === 0 && <p class="plain">No place on {plan.host} shows its packets: {plan.points[0]?.refusal ?? 'nothing is attached'}.</p>}
        {usable.length > 0 && (
          <fieldset class="points">
            <legend>Where to look</legend>
            {usable.map((place, i) => (
              <label key={place.rank} class="point">
                <input type="radio" name="point" checked={i === 0 ? point === 'auto' : point === place.point} onChange={() => choose(i === 0 ? 'auto' : place.point)} />
                <span>
                  <b>{titleOf(place)}</b>{i === 0 && <em> best</em>}
                  <span class="plain">Sees {place.sees}.</span>
                  {place.misses.length > 0 && <span class="plain quiet-text">Misses {place.misses.join('; ')}.</span>}
                  <span class="plain quiet-text">Costs {place.costs}. Disturbs {place.disturbs}.</span>
                </span>
              </label>
            ))}
          </fieldset>
        )}
        <FilterField value={expression} change={setExpression} bad={setBad} />
        <div class="fields">
          <label>For
            <select value={duration} onChange={(event) => setDuration(Number(event.currentTarget.value))}>
              <option value={300}>5 minutes</option><option value={3600}>1 hour</option><option value={28800}>8 hours</option><option value={86400}>24 hours</option>
            </select>
          </label>
          <label>Keep of each packet
            <select value={snaplen} onChange={(event) => setSnaplen(Number(event.currentTarget.value))}>
              <option value={262144}>all of it</option><option value={128}>headers (128 bytes)</option><option value={1514}>1514 bytes</option>
            </select>
          </label>
          <label class="grow"><span>Why <span class="quiet-text">for the audit log</span></span>
            <input type="text" value={reason} maxLength={1000} placeholder="a ticket, a symptom" onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
        </div>
        <p class="plain quiet-text">It follows {machine.name} to other hosts, ends after that time or when you stop it, and its packets stay at the hosts for a day.</p>
        <div class="acts">
          <button type="button" onClick={close}>Cancel</button>
          <button ref={begin} type="submit" class="solid" disabled={isBusy || isBad || (plan !== null && usable.length === 0)}>{isBusy ? 'Starting …' : 'Start capture'}</button>
        </div>
      </form>
    </Dialog>
  )
}

/** `At its own port: vnet3 on hv-1`. */
export function titleOf(point: Point): string {
  const kind = { tap: 'At its own port', uplink: 'At the uplink', inside: 'Inside the machine', mirror: 'At the end of a mirror' }[point.point] ?? point.kind
  const names = point.interfaces.map(({ name }) => name).join(', ')
  return names ? `${kind}: ${names}` : kind
}
